//! What the key index costs: time per operation and bytes per key, at several sizes. One JSON line per case.
//!
//! Keys are 41 bytes long and share prefixes as Kubernetes' keys do. Pages are 500 keys from a random place on, with
//! the exact count of what remains in the prefix, as an API server asks for them.

use bytes::Bytes;
use clap::Parser;
use coffer_core::state::key_index::{At, KeyIndex, Loader};
use coffer_core::storage::DirectoryEntry;
use coffer_core::{KeyRange, LeaseId, Revision};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::Serialize;
use std::hint::black_box;
use std::io::Write;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Measures the key index.
#[derive(Parser)]
struct Options {
    /// Numbers of keys.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    keys: Vec<usize>,
    /// Keys of a page.
    #[arg(long, default_value_t = 500)]
    page: usize,
    /// Seed of the order of inserts and of the places of reads.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// One result.
#[derive(Serialize)]
struct Case {
    case: &'static str,
    keys: usize,
    /// How often it was done.
    operations: usize,
    ns_per_operation: f64,
    total_ms: f64,
    /// Heap bytes of the index for each of its keys, where the case builds one.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_key: Option<f64>,
    /// Growth of the process's resident memory for each key, where the case builds an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    resident_bytes_per_key: Option<f64>,
}

fn main() -> std::io::Result<()> {
    let options = Options::parse();
    for &keys in &options.keys {
        Bench { keys, page: options.page, rng: StdRng::seed_from_u64(options.seed) }.run()?;
    }
    Ok(())
}

struct Bench {
    keys: usize,
    page: usize,
    rng: StdRng,
}

impl Bench {
    fn run(&mut self) -> std::io::Result<()> {
        let names: Vec<Bytes> = (0..self.keys).map(name).collect();
        let mut shuffled = names.clone();
        shuffled.shuffle(&mut self.rng);

        drop(self.build("load", |_| load(&names))?);
        drop(self.build("insert_ascending", |_| insert(&names))?);
        let mut index = self.build("insert_random", |_| insert(&shuffled))?;

        let places = &shuffled[..self.keys.min(10_000)];
        let newest = self.keys as i64 + 1;
        self.time("get", places, |key| index.latest(key).is_some())?;
        let prefix = KeyRange::prefix(&b"/registry/"[..]);
        self.time("count", places, |_| index.count_live(&prefix))?;
        let page = self.page;
        self.time("page", places, |key| read_page(&index, key, At::Newest, page))?;

        // The moment just before some keys changed, as a client sees it that reads a list in pages.
        let before = At::Revision(newest);
        let (updated, deleted) = (&shuffled[..self.keys / 100], &shuffled[self.keys / 100..][..100]);
        let updates: Vec<Revision> =
            (0..updated.len()).map(|i| Revision::first(newest + 1 + i as i64)).collect();
        for (key, &revision) in updated.iter().zip(&updates) {
            index.put(key, revision, LeaseId::NONE);
        }
        self.time("page_before_1_percent_updates", places, |key| read_page(&index, key, before, page))?;
        let newest = newest + updates.len() as i64;
        for (i, key) in deleted.iter().enumerate() {
            index.delete(key, Revision::first(newest + 1 + i as i64));
        }
        self.time("page_before_100_deletions", places, |key| read_page(&index, key, before, page))?;

        let after = newest + deleted.len() as i64 + 1;
        for (sub, key) in shuffled.iter().enumerate().filter(|(i, _)| i % 10 > 0) {
            index.delete(key, Revision { main: after, sub: sub as u32 });
        }
        self.time("page_90_percent_tombstones", places, |key| read_page(&index, key, At::Newest, page))?;
        self.prune(&mut index, after + 1)
    }

    /// Builds an index and reports time and memory.
    fn build(&self, case: &'static str, build: impl FnOnce(&Self) -> KeyIndex) -> std::io::Result<KeyIndex> {
        let (resident, start) = (resident_bytes()?, Instant::now());
        let index = build(self);
        let elapsed = start.elapsed();
        let keys = index.keys_live() as f64;
        Case {
            bytes_per_key: Some(index.memory_bytes() as f64 / keys),
            resident_bytes_per_key: Some(resident_bytes()?.saturating_sub(resident) as f64 / keys),
            ..self.case(case, self.keys, elapsed)
        }
        .print()?;
        Ok(index)
    }

    /// Does an operation once per place and reports the mean time.
    fn time<T>(
        &self,
        case: &'static str,
        places: &[Bytes],
        work: impl Fn(&Bytes) -> T,
    ) -> std::io::Result<()> {
        let start = Instant::now();
        for key in places {
            black_box(work(key));
        }
        self.case(case, places.len(), start.elapsed()).print()
    }

    /// Prunes everything in chunks of a thousand; an operation is a chunk.
    fn prune(&self, index: &mut KeyIndex, compact_revision: i64) -> std::io::Result<()> {
        let (mut dead, mut from, mut chunks) = (Vec::new(), Some(Bytes::new()), 0);
        let start = Instant::now();
        while let Some(key) = from {
            from = index.prune(&key, 1000, compact_revision, &mut dead);
            chunks += 1;
        }
        let elapsed = start.elapsed();
        let bytes_per_key = Some(index.memory_bytes() as f64 / index.keys_live() as f64);
        Case { bytes_per_key, ..self.case("prune_90_percent_tombstones", chunks, elapsed) }.print()
    }

    fn case(&self, case: &'static str, operations: usize, elapsed: Duration) -> Case {
        Case {
            case,
            keys: self.keys,
            operations,
            ns_per_operation: (elapsed.as_nanos() as f64 / operations as f64).round(),
            total_ms: elapsed.as_micros() as f64 / 1000.0,
            bytes_per_key: None,
            resident_bytes_per_key: None,
        }
    }
}

impl Case {
    fn print(&self) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, self)?;
        writeln!(out)
    }
}

/// The `i`th key in key order.
fn name(i: usize) -> Bytes {
    format!("/registry/pods/ns-{:03}/pod-{i:015}", i / 5000 % 1000).into()
}

fn insert(names: &[Bytes]) -> KeyIndex {
    let mut index = KeyIndex::new();
    for (i, name) in names.iter().enumerate() {
        index.put(name, Revision::first(i as i64 + 2), LeaseId::NONE);
    }
    index
}

fn load(names: &[Bytes]) -> KeyIndex {
    let mut loader = Loader::new(0);
    for (i, name) in names.iter().enumerate() {
        let main = i as i64 + 2;
        let entry = DirectoryEntry {
            revision: Revision::first(main),
            create_revision: main,
            version: 1,
            lease: LeaseId::NONE,
            tombstone: false,
            value_bytes: 256,
        };
        loader.push(name, &entry).expect("the entries ascend");
    }
    loader.finish().0
}

/// A page from `key` on, and the count of all that remains in the prefix.
fn read_page(index: &KeyIndex, key: &Bytes, at: At, page: usize) -> (u64, i64) {
    let range = KeyRange::between(key.clone(), &b"/registry0"[..]);
    let (mut sum, mut left) = (0, page);
    index.walk(&range, at, &mut |_, version| {
        sum += version.revision.main;
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    (index.count(&range, at), sum)
}

/// Resident memory of this process. Memory that an earlier case left to the allocator hides some of its growth.
fn resident_bytes() -> std::io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(line.trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) * 1024)
}
