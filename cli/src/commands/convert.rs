//! `convert`: makes a store of another backend, or with another key, from a closed one.

use super::progress;
use crate::args::Global;
use crate::args::store::ConvertOptions;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output};
use coffer::{Error, Options, Seal};
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) fn run(global: &Global, options: ConvertOptions) -> Result<(), Failure> {
    let mut output = Output::new(global.write_out, global.hex);
    output.no_table("convert")?;
    let ConvertOptions { from, to, backend, new_key, new_unsealed } = options;
    let mut target = Options::default();
    if let Some(backend) = backend {
        target = target.backend(backend);
    }
    match (new_key.resolve()?, new_unsealed) {
        (Some(_), true) => {
            return Err(Failure::usage(
                "a new key and --new-unsealed are given: a store has the one or the other",
            ));
        }
        (Some(seal), false) => target = target.seal(seal),
        (None, true) => target = target.seal(Seal::Unsealed),
        (None, false) => {}
    }
    let source = global.seal.options(Some(&from))?;
    // Revisions are the only measure that is known before everything was read.
    let bar = progress::bar(Some(0), false);
    let made = source.convert(&from, &to, &target, &mut |now| {
        bar.set_length(now.revision_last.unsigned_abs());
        bar.set_position(now.revision.unsigned_abs());
    });
    bar.finish_and_clear();
    let made = made.map_err(failed)?;
    let (audit, copied, from_backend) = (*made.audit(), *made.copied(), made.from());
    let backend = backend.unwrap_or(from_backend);
    made.keep()?;
    let report = Report {
        data_dir: to,
        backend: backend.name(),
        was: from_backend.name(),
        revision: audit.revision,
        compact_revision: audit.compact_revision,
        keys: audit.keys,
        records: copied.records,
        leases: audit.leases,
        log_entries: copied.entries,
        hash: audit.hash,
    };
    match output.format {
        Format::Json => output.json(&report)?,
        Format::Simple | Format::Table => report.write(&mut output)?,
    }
    Ok(output.flush()?)
}

fn failed(error: Error) -> Failure {
    match error {
        Error::Corrupt(_) => Failure::new(Exit::Corrupt, error).note("there is no new store"),
        error => Failure::from(error).note("there is no new store"),
    }
}

/// What was done.
#[derive(Debug, Serialize)]
struct Report {
    data_dir: PathBuf,
    backend: &'static str,
    was: &'static str,
    revision: i64,
    compact_revision: i64,
    keys: u64,
    records: u64,
    leases: u64,
    log_entries: u64,
    hash: u32,
}

impl Report {
    fn write(&self, output: &mut Output) -> io::Result<()> {
        let Report { revision, compact_revision, keys, records, leases, log_entries, .. } = self;
        output.line(format_args!("revision {revision}, compacted at {compact_revision}"))?;
        output.line(format_args!(
            "{keys} keys, {records} records, {leases} leases, {log_entries} log entries"
        ))?;
        output.line(format_args!("HashKV of both stores: {}", self.hash))?;
        let path = Path::display(&self.data_dir);
        output.line(format_args!("converted from {} to {} in {path}", self.was, self.backend))
    }
}
