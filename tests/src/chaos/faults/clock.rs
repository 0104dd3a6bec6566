//! A wall clock that jumps, under a running process: `clock.c`, loaded before the C library.

use super::Strike;
use crate::chaos::cluster::Cluster;
use crate::chaos::member::Member;
use rand::RngExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

const SOURCE: &str = include_str!("clock.c");

/// Whether there is what it needs.
pub(super) fn probe() -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| format!("no directory: {error}"))?;
    let library = compile(dir.path())?;
    let clock = dir.path().join("clock");
    set(&clock, 86_400 * 3_650).map_err(|error| error.to_string())?;
    let date = |preload: Option<&Path>| {
        let mut date = Command::new("date");
        if let Some(library) = preload {
            date.env("LD_PRELOAD", library).env("COFFER_CHAOS_CLOCK", &clock);
        }
        let output = date.arg("+%Y").output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().ok()
    };
    match (date(None), date(Some(&library))) {
        (Some(now), Some(then)) if then >= now + 9 => Ok(()),
        _ => Err("a library that is loaded first does not move the clock of a process".into()),
    }
}

fn compile(dir: &Path) -> Result<PathBuf, String> {
    let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
    fs::write(&source, SOURCE).map_err(|error| error.to_string())?;
    let compiled =
        Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output();
    match compiled {
        Ok(output) if output.status.success() => Ok(library),
        Ok(output) => Err(format!("cc: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("needs a C compiler: {error}")),
    }
}

fn clock_of(member: &Member) -> PathBuf {
    member.log.with_extension("clock")
}

fn set(path: &Path, seconds: i64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    file.write_all_at(&seconds.to_ne_bytes(), 0)
}

/// Gives each member a clock of its own.
pub(super) fn prepare(cluster: &Cluster) -> Result<(), String> {
    for member in cluster.members() {
        let dir = member.log.parent().ok_or("no directory")?;
        let library = dir.join("clock.so");
        if !library.exists() {
            compile(dir)?;
        }
        let clock = clock_of(&member);
        set(&clock, 0).map_err(|error| format!("{}: {error}", clock.display()))?;
        member.set_environment("LD_PRELOAD", library);
        member.set_environment("COFFER_CHAOS_CLOCK", clock);
    }
    Ok(())
}

/// Jumps by up to a day, to and fro, and stays where it is.
pub(super) async fn jump(strike: &mut Strike) -> Result<String, String> {
    let victim = strike.victim().await?;
    let mut jumps = Vec::new();
    for _ in 0..4 {
        let seconds = strike.random.random_range(-86_400..86_400);
        // A member that came later has no such clock.
        if clock_of(&victim).exists() {
            set(&clock_of(&victim), seconds).map_err(|error| error.to_string())?;
        }
        jumps.push(seconds);
        coffer_runtime::sleep(strike.hold / 4).await;
    }
    Ok(format!("{} {jumps:?} s", victim.name))
}
