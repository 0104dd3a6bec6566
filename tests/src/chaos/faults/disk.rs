//! What happens to disks: slow syncs, failing ones, and no room.

use super::Strike;
use super::tracer::Tracer;
use crate::chaos::member::End;
use rand::RngExt;
use rand::seq::IteratorRandom;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Room of a member's own file system.
const ROOM_MIB: u64 = 256;
/// A sync that fails ends a daemon within this.
const END: Duration = Duration::from_secs(30);

pub(super) async fn slow(strike: &mut Strike) -> Result<String, String> {
    let victim = strike.victim().await?;
    let ms = strike.random.random_range(20..300);
    let tracer = Tracer::attach(&victim, &format!("delay_enter={}", ms * 1000)).await?;
    strike.last().await;
    drop(tracer);
    Ok(format!("{} {ms} ms", victim.name))
}

/// A member whose sync fails does not go on.
pub(super) async fn sync_error(strike: &mut Strike) -> Result<String, String> {
    let victim = strike.victim().await?;
    let Some(tracer) = Tracer::attach(&victim, "error=EIO").await? else {
        return Ok(format!("{}, which did not run", victim.name));
    };
    let ended = victim.ended(strike.hold.max(END)).await;
    drop(tracer);
    match ended {
        End::GoesOn => {
            return Err(format!(
                "{} goes on after a failed fdatasync:\n{}",
                victim.name,
                victim.last_words()
            ));
        }
        End::With(status) if status.success() => {
            return Err(format!("{} ends with 0 after a failed fdatasync", victim.name));
        }
        End::With(_) | End::Unseen => {}
    }
    coffer_runtime::sleep(strike.hold / 4).await;
    strike.cluster.run(&victim).await?;
    Ok(victim.name.clone())
}

/// A file system in memory for one member's data. It goes with this.
#[derive(Debug)]
pub struct Room(PathBuf);

impl Room {
    /// Mounts it.
    ///
    /// # Errors
    /// The machine refuses it.
    pub fn make(dir: &Path) -> Result<Self, String> {
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={ROOM_MIB}m,mode=0700"), "none"]).arg(dir);
        let output = mount.output().map_err(|error| format!("mount: {error}"))?;
        match output.status.success() {
            true => Ok(Self(dir.into())),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    /// Whether there is one at `dir`, and not the disk of this machine.
    fn is_at(dir: &Path) -> bool {
        let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
        device(dir).is_some() && device(dir) != dir.parent().and_then(device)
    }

    pub(super) fn probe() -> Result<(), String> {
        let dir = tempfile::tempdir().map_err(|error| format!("no directory: {error}"))?;
        Self::make(dir.path()).map(drop).map_err(|error| format!("needs the right to mount: {error}"))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

/// Somebody else's file takes all room that there is, and goes again.
pub(super) async fn full(strike: &mut Strike) -> Result<String, String> {
    let mut victim = strike.victim().await?;
    // A member that came later is on the disk of this machine, which is not to be filled.
    if !Room::is_at(&victim.disk) {
        let members = strike.cluster.members().into_iter().filter(|member| Room::is_at(&member.disk));
        match members.choose(&mut strike.random) {
            Some(other) => victim = other,
            None => return Ok("nobody: all members came later".into()),
        }
    }
    let filler = victim.disk.join("filler");
    let filled = fill(&filler);
    strike.last().await;
    let gone = fs::remove_file(&filler);
    filled.and(gone).map_err(|error| format!("{}: {error}", filler.display()))?;
    Ok(victim.name.clone())
}

fn fill(path: &Path) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = fs::File::create(path)?;
    let block = vec![0; 64 << 10];
    while file.write_all(&block).is_ok() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Room;

    #[test]
    fn the_disk_of_the_machine_is_no_room_of_a_member() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = dir.path().join("m0");
        assert!(!Room::is_at(&disk), "there is nothing");
        std::fs::create_dir(&disk).expect("a directory");
        assert!(!Room::is_at(&disk));
        match Room::make(&disk) {
            Ok(_room) => assert!(Room::is_at(&disk)),
            Err(reason) => eprintln!("SKIPPED: {reason}"),
        }
    }
}
