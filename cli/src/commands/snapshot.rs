//! `snapshot`: saves all of a store in one file, looks at such a file, and makes a new store from one.

use super::{import_etcd, progress};
use crate::args::Global;
use crate::args::store::{ImportEtcdOptions, SnapshotCommand, SnapshotRestoreOptions};
use crate::connection::{self, Needs};
use crate::failure::{Exit, Failure};
use crate::new_cluster::Wanted;
use crate::output::{Format, Output};
use coffer::{Audit, Error, NewFile, Options, Restored, RestoredStore, Seal, SnapshotHead, SnapshotInput};
use coffer_core::Record;
use coffer_core::storage::{SnapshotSource, StorageError};
use indicatif::ProgressBar;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) fn run(global: &Global, command: SnapshotCommand) -> Result<(), Failure> {
    match command {
        SnapshotCommand::Save { file } => coffer::block_on(save(global, &file)),
        SnapshotCommand::Status { file } => status(global, &file),
        SnapshotCommand::Restore(options) => restore(global, *options),
    }
}

/// Saves beside the place first: under the name is a whole snapshot or none.
async fn save(global: &Global, path: &Path) -> Result<(), Failure> {
    let mut output = Output::new(global.write_out, global.hex);
    let mut part = NewFile::create(path).map_err(unwritten)?;
    let client = connection::open(global, Needs::Existing).await?;
    let mut snapshot = client.snapshot().await?;
    let head = *snapshot.head();
    let bar = progress::bar(None, true);
    while let Some(bytes) = snapshot.next().await? {
        part.write(&bytes).map_err(unwritten)?;
        bar.inc(bytes.len() as u64);
    }
    bar.finish_and_clear();
    part.keep().map_err(unwritten)?;
    let report = Saved { file: path.to_owned(), revision: head.revision, bytes: bar.position() };
    match output.format {
        Format::Json => output.json(&report)?,
        Format::Simple | Format::Table => {
            output.line(format_args!("Snapshot saved at {}", path.display()))?
        }
    }
    Ok(output.flush()?)
}

fn unwritten(error: io::Error) -> Failure {
    Failure::new(Exit::Failed, error)
}

/// Reads all of a file.
fn status(global: &Global, path: &Path) -> Result<(), Failure> {
    let mut output = Output::new(global.write_out, global.hex);
    let seal = global.seal.resolve(None, None)?;
    let mut source = Counted::open(path, seal.as_ref())?;
    let mut last = None;
    while let Some(record) = source.next().map_err(|error| unreadable(error.into()))? {
        last = Some(record.revision);
    }
    source.bar.finish_and_clear();
    let SnapshotHead { cluster_id, member_id, revision, compact_revision, created_s, .. } =
        *source.input.head();
    let report = Status {
        file: path.to_owned(),
        bytes: source.input.progress().1,
        sealed: source.input.is_sealed(),
        key_slots: source.input.slots().iter().map(|slot| format!("{} {}", slot.kind, slot.id)).collect(),
        cluster_id: format!("{cluster_id:x}"),
        member_id: format!("{member_id:x}"),
        created_s,
        revision,
        compact_revision,
        last_change: last.map_or(0, |revision| revision.main),
        records: source.input.records(),
        leases: source.input.leases() as u64,
    };
    match output.format {
        Format::Json => output.json(&report)?,
        Format::Simple | Format::Table => report.write(&mut output)?,
    }
    Ok(output.flush()?)
}

fn restore(global: &Global, options: SnapshotRestoreOptions) -> Result<(), Failure> {
    if options.bump_revision > 0 && !options.mark_compacted {
        return Err(Failure::usage(
            "--bump-revision needs --mark-compacted: who watches from a revision between would otherwise wait for ever",
        ));
    }
    let wanted = options.cluster.clone().resolve()?;
    let is_ours = SnapshotInput::is_one(&options.file)
        .map_err(|error| Failure::file("read", options.file.display(), &error))?;
    if !is_ours {
        return restore_from_etcd(global, options, wanted);
    }
    let mut output = Output::new(global.write_out, global.hex);
    output.no_table("snapshot restore")?;
    let seal = global.seal.resolve(None, Some(&options.data_dir))?;
    let mut source = Counted::open(&options.file, seal.as_ref())?;
    let mut target = Options::default().backend(options.backend);
    target = match (options.new_key.resolve()?, options.new_unsealed) {
        (Some(_), true) => {
            return Err(Failure::usage(
                "a new key and --new-unsealed are given: a store has the one or the other",
            ));
        }
        (Some(new), false) => target.seal(new),
        (None, true) => target.seal(Seal::Unsealed),
        (None, false) => target.seal(seal.unwrap_or(Seal::Unsealed)),
    };
    let mut content = source.input.restored();
    content.revision = content
        .revision
        .checked_add_unsigned(options.bump_revision)
        .ok_or_else(|| Failure::usage("--bump-revision is too large"))?;
    if options.mark_compacted {
        content.compact_revision = content.revision;
    }
    let cluster = wanted.cluster(&origin(source.input.head(), &content))?;
    let made = target.restore(&options.data_dir, cluster.as_ref(), &content, &mut source);
    source.bar.finish_and_clear();
    let made = made.map_err(failed)?;
    import_etcd::warn_of_others(cluster.as_ref());
    let report = Report::new(&options.data_dir, &made, source.input.records());
    made.keep()?;
    match output.format {
        Format::Json => output.json(&report)?,
        Format::Simple | Format::Table => report.write(&mut output)?,
    }
    Ok(output.flush()?)
}

/// What tells a restored content from every other: all members of a new cluster must begin with the same.
fn origin(head: &SnapshotHead, content: &Restored) -> String {
    let SnapshotHead { cluster_id, member_id, applied, created_s, .. } = head;
    format!(
        "cluster {cluster_id:x} member {member_id:x} term {} index {} at {created_s} revision {} compacted {}",
        applied.term, applied.index, content.revision, content.compact_revision
    )
}

/// What etcd saved is imported.
fn restore_from_etcd(
    global: &Global,
    options: SnapshotRestoreOptions,
    wanted: Wanted,
) -> Result<(), Failure> {
    if options.bump_revision > 0 || options.mark_compacted {
        return Err(Failure::usage(
            "--bump-revision and --mark-compacted are for snapshots of Coffer; this file is none: `etcdutl snapshot \
             restore` knows both for those of etcd, and `coffer import-etcd` takes what it makes",
        ));
    }
    let SnapshotRestoreOptions { file, data_dir, backend, new_key, new_unsealed, skip_hash_check, .. } =
        options;
    if new_unsealed || new_key.resolve()?.is_some() {
        return Err(Failure::usage(
            "a snapshot of etcd is not sealed: name the key of the new store by --seal-…",
        ));
    }
    import_etcd::run(
        global,
        ImportEtcdOptions { file, data_dir, backend, skip_hash_check, without_auth: false },
        wanted,
    )
}

/// Why a file can not be read.
fn unreadable(error: Error) -> Failure {
    match error {
        Error::Corrupt(_) => {
            Failure::new(Exit::Corrupt, error).note("no store was touched; take another snapshot")
        }
        error => Failure::from(error),
    }
}

fn failed(error: Error) -> Failure {
    match error {
        Error::Corrupt(_) => Failure::new(Exit::Corrupt, error).note("there is no new store"),
        error => Failure::from(error).note("there is no new store"),
    }
}

/// Records on their way, with a bar over the bytes of the file.
struct Counted {
    input: SnapshotInput,
    bar: ProgressBar,
}

impl Counted {
    fn open(path: &Path, seal: Option<&Seal>) -> Result<Self, Failure> {
        let seal = seal.filter(|seal| **seal != Seal::Unsealed);
        let input = SnapshotInput::open(path, seal).map_err(unreadable)?;
        let bar = progress::bar(Some(input.progress().1), true);
        Ok(Self { input, bar })
    }
}

impl SnapshotSource for Counted {
    fn next(&mut self) -> Result<Option<Record>, StorageError> {
        let record = self.input.next()?;
        self.bar.set_position(self.input.progress().0);
        Ok(record)
    }
}

/// What was saved.
#[derive(Debug, Serialize)]
struct Saved {
    file: PathBuf,
    revision: i64,
    bytes: u64,
}

/// What a file holds.
#[derive(Debug, Serialize)]
struct Status {
    file: PathBuf,
    bytes: u64,
    sealed: bool,
    key_slots: Vec<String>,
    cluster_id: String,
    member_id: String,
    created_s: u64,
    revision: i64,
    compact_revision: i64,
    last_change: i64,
    records: u64,
    leases: u64,
}

impl Status {
    fn write(&self, output: &mut Output) -> io::Result<()> {
        let Status { revision, compact_revision, records, leases, bytes, cluster_id, member_id, .. } = self;
        output.line(format_args!("a whole snapshot of {bytes} bytes"))?;
        output.line(format_args!("cluster {cluster_id}, made by member {member_id}"))?;
        output.line(format_args!("revision {revision}, compacted at {compact_revision}"))?;
        output.line(format_args!("{records} records, {leases} leases"))?;
        match self.sealed {
            true => output.line(format_args!("sealed; opened by {}", self.key_slots.join(", "))),
            false => output.line("UNSEALED: whoever can read the file can read everything in it"),
        }
    }
}

/// What was made.
#[derive(Debug, Serialize)]
struct Report {
    data_dir: PathBuf,
    cluster_id: String,
    member_id: String,
    revision: i64,
    compact_revision: i64,
    keys: u64,
    records: u64,
    leases: u64,
    hash: u32,
}

impl Report {
    fn new(data_dir: &Path, made: &RestoredStore, records: u64) -> Self {
        let Audit { hash, revision, compact_revision, keys, leases } = *made.audit();
        Self {
            data_dir: data_dir.to_owned(),
            cluster_id: format!("{:x}", made.cluster_id()),
            member_id: format!("{:x}", made.member_id()),
            revision,
            compact_revision,
            keys,
            records,
            leases,
            hash,
        }
    }

    fn write(&self, output: &mut Output) -> io::Result<()> {
        let Self { cluster_id, member_id, revision, compact_revision, keys, records, leases, hash, .. } =
            self;
        output.line(format_args!("member {member_id} of cluster {cluster_id}"))?;
        output.line(format_args!("revision {revision}, compacted at {compact_revision}"))?;
        output.line(format_args!("{keys} keys, {records} records, {leases} leases"))?;
        output.line(format_args!("HashKV of the store: {hash}"))?;
        output.line(format_args!("restored into {}", Path::display(&self.data_dir)))
    }
}
