//! `import-etcd`: makes a new store from a snapshot, or a stopped member, of etcd.
//!
//! The store proves itself before it gets its place: HashKV is computed from the rows of the file as etcd does, and from
//! what the new store reads back from its medium.

use super::progress;
use crate::args::Global;
use crate::args::store::ImportEtcdOptions;
use crate::failure::{Exit, Failure};
use crate::new_cluster::Wanted;
use crate::output::{Format, Output};
use coffer::{Audit, Error, NewCluster};
use coffer_core::Record;
use coffer_core::storage::{SnapshotSource, StorageError};
use coffer_etcd::snapshot::{Checksum, EtcdFile, Rows, RowsHash};
use indicatif::ProgressBar;
use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(crate) fn run(global: &Global, options: ImportEtcdOptions, wanted: Wanted) -> Result<(), Failure> {
    let mut output = Output::new(global.write_out, global.hex);
    output.no_table("import-etcd")?;
    let file = EtcdFile::open(&options.file, options.skip_hash_check).map_err(|error| unreadable(&error))?;
    check_auth(&file, options.without_auth)?;
    let seal = global.seal.options(Some(&options.data_dir))?;
    let expected = file.hash_kv().map_err(|error| unreadable(&error))?;
    let cluster = wanted.cluster(&format!(
        "etcd hash {} revision {} compacted {}",
        expected.hash, expected.revision, expected.compact_revision
    ))?;
    let mut source = Counted { rows: file.rows(), records: 0, bar: progress::bar(None, false) };
    let target = seal.backend(options.backend);
    let made = target.restore(&options.data_dir, cluster.as_ref(), file.restored(), &mut source);
    source.bar.finish_and_clear();
    let made = made.map_err(failed)?;
    let audit = *made.audit();
    if (audit.hash, audit.revision, audit.compact_revision)
        != (expected.hash, expected.revision, expected.compact_revision)
    {
        return Err(mismatch(&expected, &audit));
    }
    warn_of_others(cluster.as_ref());
    let (cluster_id, member_id) = (made.cluster_id(), made.member_id());
    made.keep()?;
    let report = Report {
        data_dir: options.data_dir,
        cluster_id: format!("{cluster_id:x}"),
        member_id: format!("{member_id:x}"),
        checksum: checksum_text(file.checksum()),
        revision: audit.revision,
        compact_revision: audit.compact_revision,
        keys: audit.keys,
        records: source.records,
        leases: audit.leases,
        hash_of_file: expected.hash,
        hash_of_store: audit.hash,
    };
    match output.format {
        Format::Json => output.json(&report)?,
        Format::Simple | Format::Table => report.write(&mut output)?,
    }
    Ok(output.flush()?)
}

/// Says what of authentication is not carried over, and refuses to open to everybody what was not.
fn check_auth(file: &EtcdFile, without_auth: bool) -> Result<(), Failure> {
    let auth = file.auth();
    if auth.enabled && !without_auth {
        return Err(Failure::new(
            Exit::Failed,
            format_args!(
                "authentication is switched on in {}, and users, roles and permissions are not carried over: \
                 whoever reaches the new store can read and write everything in it; if that is what you want, give \
                 --without-auth",
                file.path().display()
            ),
        ));
    }
    if auth.enabled || auth.users > 0 || auth.roles > 0 {
        let state = if auth.enabled { "on" } else { "off" };
        warn(format_args!(
            "NOT CARRIED OVER: {} users and {} roles. Authentication was {state} in etcd; in the new store everybody \
             who reaches it can do everything.",
            auth.users, auth.roles
        ));
    }
    if file.has_alarms() {
        warn("alarms that are raised in etcd are not carried over");
    }
    Ok(())
}

/// Says of a cluster of several members how it is served.
pub(super) fn warn_of_others(cluster: Option<&NewCluster>) {
    let members = cluster.map_or(1, |cluster| cluster.members().len());
    if members > 1 {
        warn(format_args!(
            "the store is that of one of {members} members: a daemon with --listen-peer-urls serves it together with the \
             others; it cannot be opened alone"
        ));
    }
}

fn warn(text: impl std::fmt::Display) {
    // Nothing is left to try if stderr is gone.
    let _ = writeln!(io::stderr(), "Warning: {text}");
}

/// Why the file can not be read.
fn unreadable(error: &StorageError) -> Failure {
    match error {
        StorageError::InUse { path, .. } => Failure::new(
            Exit::Failed,
            format_args!(
                "{} is in use by etcd: stop it first, or import what `etcdctl snapshot save` writes",
                path.display()
            ),
        ),
        StorageError::Corrupt { .. } => Failure::new(Exit::Corrupt, error).note(
            "nothing was imported; take another snapshot (--skip-hash-check reads past a wrong checksum)",
        ),
        _ => Failure::new(Exit::Failed, error),
    }
}

/// Why there is no new store.
fn failed(error: Error) -> Failure {
    match error {
        Error::Corrupt(_) => {
            Failure::new(Exit::Corrupt, error).note("nothing was imported; take another snapshot")
        }
        Error::InvalidArgument(reason) => Failure::new(
            Exit::Failed,
            format_args!("the file can not become a store: {reason}; nothing was imported"),
        ),
        error => Failure::from(error).note("nothing was imported"),
    }
}

fn mismatch(file: &RowsHash, store: &Audit) -> Failure {
    Failure::new(
        Exit::Corrupt,
        format_args!(
            "HashKV of the file is {} (revision {}, compacted at {}), of the new store {} (revision {}, compacted at \
             {}): nothing was imported",
            file.hash,
            file.revision,
            file.compact_revision,
            store.hash,
            store.revision,
            store.compact_revision
        ),
    )
}

fn checksum_text(checksum: Checksum) -> &'static str {
    match checksum {
        Checksum::Verified => "verified",
        Checksum::Absent => "absent",
        Checksum::Skipped => "skipped",
    }
}

/// Records on their way, counted.
struct Counted {
    rows: Rows,
    records: u64,
    bar: ProgressBar,
}

impl SnapshotSource for Counted {
    fn next(&mut self) -> Result<Option<Record>, StorageError> {
        let record = self.rows.next()?;
        if record.is_some() {
            self.records += 1;
            self.bar.set_position(self.records);
        }
        Ok(record)
    }
}

/// What was done.
#[derive(Debug, Serialize)]
struct Report {
    data_dir: PathBuf,
    cluster_id: String,
    member_id: String,
    checksum: &'static str,
    revision: i64,
    compact_revision: i64,
    keys: u64,
    records: u64,
    leases: u64,
    hash_of_file: u32,
    hash_of_store: u32,
}

impl Report {
    fn write(&self, output: &mut Output) -> io::Result<()> {
        let Report { revision, compact_revision, keys, records, leases, .. } = self;
        output.line(format_args!("checksum of the file: {}", self.checksum))?;
        output.line(format_args!("revision {revision}, compacted at {compact_revision}"))?;
        output.line(format_args!("{keys} keys, {records} records, {leases} leases"))?;
        output.line(format_args!("HashKV of the file:  {}", self.hash_of_file))?;
        output.line(format_args!("HashKV of the store: {}", self.hash_of_store))?;
        output.line(format_args!("imported into {}", Path::display(&self.data_dir)))
    }
}
