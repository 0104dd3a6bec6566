//! `verify`: whether a store is what was written.
//!
//! A closed store is read in this process, and nothing in it is changed.

use super::progress::Shown;
use crate::args::{Global, VerifyOptions};
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output};
use coffer::{Audit, Finding, Findings, Options, Uri, VerifyReport};
use serde::Serialize;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

pub(crate) fn run(global: &Global, options: &VerifyOptions) -> Result<(), Failure> {
    let mut output = Output::new(global.write_out, global.hex);
    output.no_table("verify")?;
    let (dir, given) = closed(global, options)?;
    let given = match options.backend {
        Some(backend) => given.backend(backend),
        None => given,
    };
    let mut shown = Shown::new(options.progress);
    let report = given.verify(&dir, &mut |now| {
        shown.at(now.checked_bytes, now.expected_bytes, now.damage);
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

/// The directory of the closed store, and how it is opened.
fn closed(global: &Global, options: &VerifyOptions) -> Result<(PathBuf, Options), Failure> {
    match (&options.data_dir, &global.store) {
        (Some(_), Some(_)) => Err(Failure::usage("--data-dir and --store are given: name one store")),
        (Some(dir), None) => {
            let dir =
                std::path::absolute(dir).map_err(|error| Failure::file("find", dir.display(), &error))?;
            let options = global.seal.options(Some(&dir))?;
            Ok((dir, options))
        }
        (None, Some(store)) => match store.parse().map_err(Failure::usage)? {
            Uri::File { dir, backend, seal } => {
                let options = match seal {
                    Some(seal) => Options::default().seal(seal),
                    None => global.seal.options(Some(&dir))?,
                };
                Ok((dir, backend.into_iter().fold(options, Options::backend)))
            }
            uri => Err(Failure::usage(format_args!("{uri} is not on a disk: name a directory"))),
        },
        (None, None) => Err(Failure::usage("name the store: --data-dir DIR, or --store file:///dir")),
    }
}

/// What was found.
#[derive(Serialize)]
struct ReportJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<&'a Path>,
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
    findings: Vec<FindingJson>,
}

#[derive(Serialize)]
struct AuditJson {
    revision: i64,
    compact_revision: i64,
    keys: u64,
    leases: u64,
    hash: u32,
}

#[derive(Serialize)]
struct FindingJson {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    what: String,
}

impl From<&Finding> for FindingJson {
    fn from(finding: &Finding) -> Self {
        Self {
            kind: kind(finding),
            path: finding.path().map(Path::to_owned),
            offset: finding.offset(),
            what: finding.what(),
        }
    }
}

fn kind(finding: &Finding) -> &'static str {
    match finding {
        Finding::Damage(_) => "damage",
        Finding::Weakened(_) => "weakened",
        Finding::Torn { .. } => "torn",
    }
}

fn show(dir: &Path, report: &VerifyReport, output: &mut Output) -> Result<(), Failure> {
    let findings = &report.findings;
    match output.format {
        Format::Json => output.json(&ReportJson {
            data_dir: Some(dir),
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
            findings: findings.listed().iter().map(FindingJson::from).collect(),
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
        output.line(format_args!("{}: {finding}", kind(finding)))?;
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
