//! What a start reads of the record files: the key directory, streamed in order. Also a flush, a read of one
//! revision, and a reclaim. One JSON line per case.

use bytes::Bytes;
use clap::Parser;
use coffer_backends::seal::AtRest;
use coffer_backends::segment::{Options, SegmentStore};
use coffer_core::record::Record;
use coffer_core::revision::{LeaseId, Revision};
use coffer_core::storage::{Checkpoint, Findings, Flush, LogId, Records};
use serde::Serialize;
use std::hint::black_box;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

/// Measures the record files.
#[derive(Parser)]
struct Arguments {
    /// Records stored.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Records of a flush.
    #[arg(long, default_value_t = 100_000)]
    flush: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// Where to write; a temporary directory in the current one by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Serialize)]
struct Line {
    bench: &'static str,
    case: &'static str,
    records: u64,
    units: u64,
    total_ms: f64,
    ns_per_record: f64,
}

struct Case {
    records: u64,
}

impl Case {
    fn report(
        &self,
        store: &dyn Records,
        case: &'static str,
        began: Instant,
        done: u64,
    ) -> Result<(), Failure> {
        let took = began.elapsed();
        let line = Line {
            bench: "records_walk",
            case,
            records: self.records,
            units: store.stats().units,
            total_ms: took.as_secs_f64() * 1e3,
            ns_per_record: took.as_nanos() as f64 / done as f64,
        };
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&line)?)?;
        Ok(())
    }
}

/// Scatters numbers, so that each file's keys span all others'.
fn scattered(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24
}

fn record(number: u64, value: &Bytes, in_order: bool) -> Arc<Record> {
    let place = if in_order { number } else { scattered(number) };
    let main = number as i64 + 2;
    Arc::new(Record {
        revision: Revision { main, sub: 0 },
        key: format!("/registry/pods/ns-{:04}/web-{place:012x}-x1", place % 100 * u64::from(!in_order))
            .into(),
        value: value.clone(),
        create_revision: main,
        version: 1,
        lease: LeaseId::NONE,
        tombstone: false,
    })
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let directory = match &arguments.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir_in(".")?,
    };
    for in_order in [true, false] {
        let path = directory.path().join(format!("in-order-{in_order}"));
        let case = Case { records: arguments.records };
        let store = SegmentStore::open(&path, AtRest::Unsealed, Options::default())?;
        let value = Bytes::from(vec![b'v'; arguments.value_bytes]);
        let began = Instant::now();
        for first in (0..arguments.records).step_by(arguments.flush as usize) {
            let last = (first + arguments.flush).min(arguments.records);
            let records: Vec<_> = (first..last).map(|number| record(number, &value, in_order)).collect();
            let revision = last as i64 + 1;
            let applied = LogId { term: 1, index: last };
            let checkpoint = Checkpoint { applied, revision, compact_revision: 0, state: Bytes::new() };
            store.records.flush(Flush { records: &records, checkpoint: &checkpoint })?;
        }
        case.report(
            &*store.records,
            if in_order { "flush in order" } else { "flush scattered" },
            began,
            arguments.records,
        )?;
        drop(store);
        let began = Instant::now();
        let store = SegmentStore::open(&path, AtRest::Unsealed, Options::default())?;
        case.report(&*store.records, "open", began, arguments.records)?;
        for name in ["directory", "directory again"] {
            let (began, mut lines) = (Instant::now(), 0);
            store.records.directory(&mut |key, entry| {
                black_box((key, entry));
                lines += 1;
                ControlFlow::Continue(())
            })?;
            case.report(&*store.records, name, began, lines)?;
        }
        let began = Instant::now();
        for number in 0..100_000 {
            let main = (scattered(number) % arguments.records) as i64 + 2;
            black_box(store.records.read(Revision::first(main))?);
        }
        case.report(&*store.records, "read one box", began, 100_000)?;
        let began = Instant::now();
        let verified = store.records.verify(&mut Findings::default())?;
        case.report(&*store.records, "verify", began, verified)?;
        let dead = (0..arguments.records).filter(|number| number % 4 != 0);
        let dead: Vec<_> = dead.map(|number| Revision::first(number as i64 + 2)).collect();
        let began = Instant::now();
        store.records.drop_revisions(&dead);
        case.report(&*store.records, "drop three of four", began, dead.len() as u64)?;
        let began = Instant::now();
        while store.records.reclaim(8 << 20)?.more {}
        case.report(&*store.records, "reclaim", began, arguments.records)?;
    }
    Ok(())
}
