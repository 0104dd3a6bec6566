//! Reading a file of etcd's.

use super::checksum::{self, Checksum};
use super::hash::{self, RecordRow, RowsHash};
use super::schema::{self, LeaseRow};
use crate::bbolt::{self, BoltFile, Bucket, Database};
use crate::proto::mvccpb;
use bytes::Bytes;
use coffer_core::Record;
use coffer_core::node::restore::Restored;
use coffer_core::revision::{LeaseId, Revision};
use coffer_core::state::LeaseInfo;
use coffer_core::storage::{SnapshotSource, StorageError};
use prost::Message;
use std::path::Path;

/// Where etcd keeps its store below its data directory.
const DATABASE: &str = "member/snap/db";

/// A snapshot or a database of etcd's, open and looked through but for its keys.
#[derive(Debug)]
pub struct EtcdFile {
    database: Database,
    keys: Bucket,
    checksum: Checksum,
    restored: Restored,
    auth: Auth,
    has_alarms: bool,
}

/// What the file says of authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// Whether it is switched on.
    pub enabled: bool,
    /// Users.
    pub users: usize,
    /// Roles.
    pub roles: usize,
}

impl EtcdFile {
    /// Opens what `etcdctl snapshot save` wrote, a copy of `member/snap/db`, or a data directory that no etcd runs on.
    /// A checksum at the end is verified, unless `skip_hash_check`. Blocks.
    ///
    /// # Errors
    /// [`StorageError::InUse`] while etcd has it open, [`StorageError::Format`] if it is nothing of etcd's,
    /// [`StorageError::Corrupt`] with file and offset; I/O.
    pub fn open(path: &Path, skip_hash_check: bool) -> Result<Self, StorageError> {
        let database = path.join(DATABASE);
        let file = BoltFile::open(if path.is_dir() { &database } else { path })?;
        let (checksum, bytes) = checksum::verify(&file, skip_hash_check)?;
        let database = Database::open(file, bytes)?;
        let Some(keys) = database.bucket(schema::KEY.as_bytes())? else {
            let path = database.file().path().to_owned();
            return Err(StorageError::Format { path, reason: "holds no keys of etcd's".into() });
        };
        let compact_revision = compact_revision(&database)?;
        let newest = match keys.last_row()? {
            Some((key, _)) => parse_key(&database, &key)?.0.main,
            None => 0,
        };
        let restored = Restored {
            // All keys of the newest revisions may be gone by a compaction at them.
            revision: newest.max(compact_revision).max(Revision::FRESH),
            compact_revision,
            leases: leases(&database)?,
        };
        let (auth, has_alarms) = (auth(&database)?, count(&database, schema::ALARM)? > 0);
        Ok(Self { database, keys, checksum, restored, auth, has_alarms })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.database.file().path()
    }

    /// What is known of its integrity.
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// Its content beside the records.
    pub fn restored(&self) -> &Restored {
        &self.restored
    }

    /// What it says of authentication.
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// Whether alarms are raised.
    pub fn has_alarms(&self) -> bool {
        self.has_alarms
    }

    /// Its records, in revision order.
    pub fn rows(&self) -> Rows {
        Rows { database: self.database.clone(), rows: self.keys.rows() }
    }

    /// HashKV of the rows as they are. Reads the file twice; blocks.
    ///
    /// # Errors
    /// Damage, or I/O.
    pub fn hash_kv(&self) -> Result<RowsHash, StorageError> {
        let rows = || RecordRows(self.rows());
        hash::hash(self.restored.revision, self.restored.compact_revision, rows)
    }
}

/// The records of a file. A revision that `etcdutl snapshot restore --bump-revision` left as a mark is no record.
#[derive(Debug)]
pub struct Rows {
    database: Database,
    rows: bbolt::Rows,
}

impl SnapshotSource for Rows {
    fn next(&mut self) -> Result<Option<Record>, StorageError> {
        let Some((row, pair)) = self.next_row()? else { return Ok(None) };
        let RecordRow { revision, tombstone, key, .. } = row;
        if tombstone {
            return Ok(Some(Record::deletion(revision, key)));
        }
        let mvccpb::KeyValue { create_revision, mod_revision, version, value, lease, .. } = pair;
        if mod_revision != revision.main {
            let expected = format!("a pair of revision {}", revision.main);
            return Err(self.corrupt(expected, format!("one of revision {mod_revision}")));
        }
        let lease = LeaseId(lease);
        Ok(Some(Record { revision, key, value, create_revision, version, lease, tombstone }))
    }
}

impl Rows {
    fn next_row(&mut self) -> Result<Option<(RecordRow, mvccpb::KeyValue)>, StorageError> {
        for row in self.rows.by_ref() {
            let (key, value) = row?;
            let (revision, tombstone) = parse_key(&self.database, &key)?;
            if value.is_empty() && !tombstone {
                continue;
            }
            let pair = mvccpb::KeyValue::decode(value.clone())
                .map_err(|error| self.corrupt(format!("a pair at revision {revision}"), error.to_string()))?;
            let user_key = pair.key.clone();
            return Ok(Some((RecordRow { revision, tombstone, key: user_key, row: (key, value) }, pair)));
        }
        Ok(None)
    }

    fn corrupt(&self, expected: String, found: String) -> StorageError {
        self.database.file().corrupt(0, expected, found)
    }
}

struct RecordRows(Rows);

impl Iterator for RecordRows {
    type Item = Result<RecordRow, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_row().map(|row| row.map(|(row, _)| row)).transpose()
    }
}

fn parse_key(database: &Database, key: &[u8]) -> Result<(Revision, bool), StorageError> {
    schema::parse_revision_key(key)
        .ok_or_else(|| database.file().corrupt(0, "a revision", format!("a key of {} bytes", key.len())))
}

/// The newest compaction, whether etcd was done with it or not: readers were refused from its beginning.
fn compact_revision(database: &Database) -> Result<i64, StorageError> {
    let Some(meta) = database.bucket(schema::META.as_bytes())? else { return Ok(0) };
    let mut newest = 0;
    for name in [schema::SCHEDULED_COMPACT, schema::FINISHED_COMPACT] {
        if let Some(value) = meta.get(name.as_bytes())? {
            newest = parse_key(database, &value)?.0.main.max(newest);
        }
    }
    Ok(newest)
}

fn leases(database: &Database) -> Result<Vec<(LeaseId, LeaseInfo)>, StorageError> {
    let Some(bucket) = database.bucket(schema::LEASE.as_bytes())? else { return Ok(Vec::new()) };
    let mut leases = Vec::new();
    for row in bucket.rows() {
        let (key, value) = row?;
        let lease =
            LeaseRow::decode(value).ok().filter(|lease| key == lease.id.to_be_bytes()[..] && lease.id != 0);
        let Some(lease) = lease else {
            return Err(database.file().corrupt(0, "a lease under its id", "something else"));
        };
        let ttl_s = lease.ttl.max(1);
        let remaining_s = lease.remaining_ttl.clamp(0, ttl_s);
        leases.push((LeaseId(lease.id), LeaseInfo { ttl_s, remaining_s }));
    }
    // The rows are in the order of unsigned ids.
    leases.sort_unstable_by_key(|(id, _)| *id);
    Ok(leases)
}

fn auth(database: &Database) -> Result<Auth, StorageError> {
    let enabled: Option<Bytes> = match database.bucket(schema::AUTH.as_bytes())? {
        Some(auth) => auth.get(schema::AUTH_ENABLED.as_bytes())?,
        None => None,
    };
    Ok(Auth {
        enabled: enabled.is_some_and(|value| value[..] == [1]),
        users: count(database, schema::AUTH_USERS)?,
        roles: count(database, schema::AUTH_ROLES)?,
    })
}

fn count(database: &Database, bucket: &str) -> Result<usize, StorageError> {
    let Some(bucket) = database.bucket(bucket.as_bytes())? else { return Ok(0) };
    bucket.rows().try_fold(0, |count, row| row.map(|_| count + 1))
}
