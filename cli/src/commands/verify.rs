//! `verify`: whether a store is what was written.
//!
//! A store that a daemon has open is verified by the daemon, slowly, which is asked for it and how far it is (see
//! [`key_admin`]). A closed one is read in this process, and nothing in it is changed.

use super::progress::Shown;
use crate::args::Global;
use crate::args::store::VerifyOptions;
use crate::failure::{Exit, Failure};
use crate::key_admin::{self, Answer, Found, Request, Scrub, State};
use crate::output::{Format, Output};
use coffer::{Audit, Findings, Options, Seal, Uri, VerifyReport};
use coffer_runtime::Signal;
use futures_util::StreamExt;
use futures_util::future::{self, Either};
use serde::Serialize;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at a scrub.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) fn run(global: &Global, options: &VerifyOptions) -> Result<(), Failure> {
    let mut output = Output::new(global.write_out, global.hex);
    output.no_table("verify")?;
    let (dir, seal) = named(global, options)?;
    if options.cancel {
        return cancel(&dir, &mut output);
    }
    if let Some(answer) = key_admin::ask(&dir, &Request::Scrub { rate_bytes: options.rate })? {
        let first = scrub_of(answer)?;
        return coffer::block_on(follow(&dir, first, options.progress, &mut output));
    }
    let given = match seal {
        Some(seal) => Options::default().seal(seal),
        None => global.seal.options(Some(&dir))?,
    };
    let given = match options.backend {
        Some(backend) => given.backend(backend),
        None => given,
    };
    let (mut shown, began) = (Shown::new(options.progress), Instant::now());
    let report = given.verify(&dir, &mut |now| {
        shown.at(now.checked_bytes, now.expected_bytes, now.damage);
        if let Some(rate) = options.rate {
            let due = Duration::from_secs_f64(now.checked_bytes as f64 / rate as f64);
            while let Some(early) = due.checked_sub(began.elapsed()).filter(|early| !early.is_zero()) {
                thread::park_timeout(early);
            }
        }
        ControlFlow::Continue(())
    });
    shown.end();
    let report = report?;
    show(&dir, &report, &mut output)?;
    match report.findings.damage() {
        0 => Ok(()),
        damage => Err(damaged(damage)),
    }
}

fn damaged(damage: u64) -> Failure {
    let what = if damage == 1 { "1 piece" } else { &format!("{damage} pieces") };
    let text = format_args!("{what} of the store damaged: restore it from a backup, or move it aside");
    Failure::new(Exit::Corrupt, text)
}

/// The directory of the store, and what its URI says of its key.
fn named(global: &Global, options: &VerifyOptions) -> Result<(PathBuf, Option<Seal>), Failure> {
    match (&options.data_dir, &global.store) {
        (Some(_), Some(_)) => Err(Failure::usage("--data-dir and --store are given: name one store")),
        (Some(dir), None) => {
            let dir =
                std::path::absolute(dir).map_err(|error| Failure::file("find", dir.display(), &error))?;
            Ok((dir, None))
        }
        (None, Some(store)) => match store.parse().map_err(Failure::usage)? {
            Uri::File { dir, seal, .. } => Ok((dir, seal)),
            uri => Err(Failure::usage(format_args!("{uri} is not on a disk: name a directory"))),
        },
        (None, None) => Err(Failure::usage("name the store: --data-dir DIR, or --store file:///dir")),
    }
}

fn scrub_of(answer: Answer) -> Result<Scrub, Failure> {
    match answer {
        Answer::Scrub(scrub) => Ok(*scrub),
        other => Err(Failure::new(
            Exit::Failed,
            format_args!("the daemon gave an answer that does not fit: {other:?}"),
        )),
    }
}

fn cancel(dir: &Path, output: &mut Output) -> Result<(), Failure> {
    let Some(answer) = key_admin::ask(dir, &Request::ScrubCancel)? else {
        let text = format_args!("no daemon has {} open", dir.display());
        return Err(Failure::new(Exit::Unavailable, text));
    };
    let scrub = scrub_of(answer)?;
    match output.format {
        Format::Json => output.json(&scrub)?,
        Format::Simple | Format::Table => output.line(match scrub.state {
            State::Running => "the verification ends",
            _ => "there is no verification under way",
        })?,
    }
    Ok(output.flush()?)
}

/// Waits for the end of a scrub and shows what it found. An interruption ends the scrub.
async fn follow(dir: &Path, first: Scrub, progress: bool, output: &mut Output) -> Result<(), Failure> {
    let signals = coffer_runtime::signal()
        .map_err(|error| Failure::new(Exit::Failed, format_args!("cannot receive signals: {error}")))?;
    let mut told_to_end = pin!(signals.filter(|signal| future::ready(*signal != Signal::Hangup)));
    let (mut shown, number) = (Shown::new(progress), first.number);
    let mut scrub = first;
    while scrub.state == State::Running && scrub.number == number {
        shown.at(scrub.checked_bytes, scrub.expected_bytes, scrub.damage);
        let request = match future::select(told_to_end.next(), pin!(coffer_runtime::sleep(LOOK))).await {
            Either::Left(_) => Request::ScrubCancel,
            Either::Right(_) => Request::ScrubStatus,
        };
        scrub = match key_admin::ask(dir, &request)? {
            Some(answer) => scrub_of(answer)?,
            None => {
                return Err(Failure::new(Exit::Unavailable, "the daemon ended before the verification did"));
            }
        };
    }
    shown.end();
    show_scrub(dir, &scrub, output)?;
    match (scrub.damage, scrub.state) {
        (0, State::Done) => Ok(()),
        (0, State::Failed) => {
            Err(Failure::new(Exit::Failed, "the verification failed: the daemon's log says why"))
        }
        (0, _) => {
            Err(Failure::new(Exit::Failed, "the verification was ended before everything was looked at"))
        }
        (damage, _) => Err(damaged(damage).note("the daemon stops")),
    }
}

fn show_scrub(dir: &Path, scrub: &Scrub, output: &mut Output) -> Result<(), Failure> {
    let sound = scrub.state == State::Done && scrub.damage == 0;
    match output.format {
        Format::Json => output.json(&OnlineJson { data_dir: dir, online: true, sound, scrub })?,
        Format::Simple | Format::Table => {
            for found in &scrub.findings {
                output.line(found)?;
            }
            let checked = crate::output::human_bytes(scrub.checked_bytes);
            let records = scrub.records;
            match (sound, scrub.damage) {
                (true, _) => output.line(format_args!("sound: {checked} verified, {records} records"))?,
                (false, 0) => output.line(format_args!("not verified: ended after {checked}"))?,
                (false, damage) => output.line(format_args!("DAMAGED: {damage} findings in {checked}"))?,
            }
        }
    }
    Ok(output.flush()?)
}

/// What a daemon found.
#[derive(Serialize)]
struct OnlineJson<'a> {
    data_dir: &'a Path,
    online: bool,
    sound: bool,
    #[serde(flatten)]
    scrub: &'a Scrub,
}

/// What was found.
#[derive(Serialize)]
struct ReportJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<&'a Path>,
    online: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<&'static str>,
    sealed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<u32>,
    sound: bool,
    checked_bytes: u64,
    records: u64,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    audit: Option<AuditJson>,
    damage: u64,
    weakened: u64,
    torn: u64,
    findings: Vec<Found>,
}

#[derive(Serialize)]
struct AuditJson {
    revision: i64,
    compact_revision: i64,
    keys: u64,
    leases: u64,
    hash: u32,
}

fn show(dir: &Path, report: &VerifyReport, output: &mut Output) -> Result<(), Failure> {
    let findings = &report.findings;
    match output.format {
        Format::Json => output.json(&ReportJson {
            data_dir: Some(dir),
            online: false,
            backend: report.backend.map(coffer::Backend::name),
            sealed: report.sealed,
            slot: report.slot.map(|slot| slot.0),
            sound: report.is_sound(),
            checked_bytes: findings.checked_bytes(),
            records: report.records,
            audit: report.audit.map(|audit| AuditJson {
                revision: audit.revision,
                compact_revision: audit.compact_revision,
                keys: audit.keys,
                leases: audit.leases,
                hash: audit.hash,
            }),
            damage: findings.damage(),
            weakened: findings.weakened(),
            torn: findings.torn(),
            findings: findings.listed().iter().map(Found::from).collect(),
        })?,
        Format::Simple | Format::Table => lines(dir, report, output)?,
    }
    Ok(output.flush()?)
}

fn lines(dir: &Path, report: &VerifyReport, output: &mut Output) -> io::Result<()> {
    if let Some(backend) = report.backend {
        let sealed = match (report.sealed, report.slot) {
            (true, Some(slot)) => format!("sealed, opened by the key of slot {slot}"),
            (true, None) => "sealed".into(),
            (false, _) => "in the clear".into(),
        };
        output.line(format_args!("{}: {backend}, {sealed}", dir.display()))?;
    }
    list(&report.findings, output)?;
    if let Some(Audit { hash, revision, compact_revision, keys, leases }) = report.audit {
        output.line(format_args!("revision {revision}, compacted at {compact_revision}"))?;
        output.line(format_args!("{keys} keys, {} records, {leases} leases", report.records))?;
        output.line(format_args!("HashKV: {hash}"))?;
    }
    summary(&report.findings, output)
}

/// Each finding that is known by name, and how many there are more.
fn list(findings: &Findings, output: &mut Output) -> io::Result<()> {
    for finding in findings.listed() {
        output.line(Found::from(finding))?;
    }
    match findings.count() - findings.listed().len() as u64 {
        0 => Ok(()),
        more => output.line(format_args!("and {more} more")),
    }
}

fn summary(findings: &Findings, output: &mut Output) -> io::Result<()> {
    let checked = crate::output::human_bytes(findings.checked_bytes());
    match (findings.damage(), findings.weakened()) {
        (0, 0) => output.line(format_args!("sound: {checked} verified")),
        (0, weakened) => {
            output.line(format_args!("sound: {checked} verified; of {weakened} pieces one copy is damaged"))
        }
        (damage, _) => output.line(format_args!("DAMAGED: {damage} findings in {checked}")),
    }
}
