//! What clients and watchers of a cluster saw: the only thing that is judged.
//!
//! Kept as lines of JSON, one record each, so that a failing run can be read and judged again.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

/// Microseconds since the beginning of the run.
pub type Micros = u64;

/// A pair of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The key.
    pub key: String,
    /// The value, or what [`shortened`] makes of it.
    pub value: String,
    /// The revision that created it.
    pub created: i64,
    /// The revision that wrote it last.
    pub modified: i64,
    /// How often it was written since.
    pub version: i64,
    /// Its lease; 0 for none.
    pub lease: i64,
}

/// Longest value that is written down whole.
const VALUE_BYTES_MAX: usize = 64;

/// A value as it is written down: large ones by their beginning, which is unique, and their length.
pub fn shortened(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(&value[..value.len().min(VALUE_BYTES_MAX)]).into_owned();
    match value.len() > VALUE_BYTES_MAX {
        true => format!("{text}…{}", value.len()),
        false => text,
    }
}

/// A range of keys: one, or those from `start` to before `end`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The first key.
    pub start: String,
    /// The key after the last; nothing for one key.
    pub end: String,
}

impl Keys {
    /// One key.
    pub fn one(key: &str) -> Self {
        Self { start: key.into(), end: String::new() }
    }

    /// All keys that begin with `prefix`, which ends with an ASCII character.
    pub fn prefixed(prefix: &str) -> Self {
        let mut end = prefix.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        Self { start: prefix.into(), end: String::from_utf8_lossy(&end).into_owned() }
    }

    /// All keys that a run writes.
    pub fn all() -> Self {
        Self { start: " ".into(), end: "~".into() }
    }

    /// Whether `key` is among them.
    pub fn contains(&self, key: &str) -> bool {
        match self.end.is_empty() {
            true => key == self.start,
            false => self.start.as_str() <= key && key < self.end.as_str(),
        }
    }
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants say what they are")]
pub enum Step {
    Put { key: String, value: String },
    Delete { key: String },
    Get { key: String },
}

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Writes a key; values are unique in a run.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// The lease; 0 for none.
        lease: i64,
    },
    /// Deletes keys.
    Delete {
        /// Which.
        keys: Keys,
    },
    /// Acts one way if all the keys were last written at these revisions, else another.
    Txn {
        /// Keys and revisions; 0 for a key that does not exist.
        when: Vec<(String, i64)>,
        /// If so.
        then: Vec<Step>,
        /// If not.
        otherwise: Vec<Step>,
    },
    /// Reads keys.
    Read {
        /// Which.
        keys: Keys,
        /// Whether an old state is good enough.
        serializable: bool,
        /// As of this revision; 0 for the newest.
        revision: i64,
    },
    /// Creates a lease.
    Grant {
        /// Its id.
        lease: i64,
        /// Its time to live, in seconds.
        ttl_s: i64,
    },
    /// Renews a lease.
    KeepAlive {
        /// Its id.
        lease: i64,
    },
    /// Ends a lease.
    Revoke {
        /// Its id.
        lease: i64,
    },
    /// Makes revisions below this one unreadable.
    Compact {
        /// The oldest that stays.
        revision: i64,
    },
}

impl Action {
    /// Whether it may change keys.
    pub fn is_write(&self) -> bool {
        match self {
            Self::Put { .. } | Self::Delete { .. } | Self::Revoke { .. } => true,
            Self::Txn { then, otherwise, .. } => {
                then.iter().chain(otherwise).any(|step| !matches!(step, Step::Get { .. }))
            }
            Self::Read { .. } | Self::Grant { .. } | Self::KeepAlive { .. } | Self::Compact { .. } => false,
        }
    }
}

/// What a step of a transaction answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants say what they are")]
pub enum StepAnswer {
    Put { before: Option<Pair> },
    Delete { before: Vec<Pair> },
    Get { pairs: Vec<Pair> },
}

/// What an action answered, beside the revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Of a put.
    Put {
        /// The pair before.
        before: Option<Pair>,
    },
    /// Of a deletion.
    Delete {
        /// How many.
        deleted: i64,
        /// The pairs before.
        before: Vec<Pair>,
    },
    /// Of a transaction.
    Txn {
        /// Which way it went.
        succeeded: bool,
        /// Each step's answer.
        steps: Vec<StepAnswer>,
    },
    /// Of a read.
    Read {
        /// The pairs.
        pairs: Vec<Pair>,
    },
    /// Of a grant or a renewal.
    Lease {
        /// The time to live, in seconds; 0 if there is no such lease.
        ttl_s: i64,
    },
    /// Of anything else.
    Done,
}

/// What became of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It happened.
    Ok {
        /// The revision in the answer's header.
        revision: i64,
        /// The raft term in the answer's header.
        term: u64,
        /// The rest.
        answer: Answer,
    },
    /// It did not happen.
    Failed(String),
    /// Nobody knows.
    Unknown(String),
}

/// An action of a client, from its call to its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Whose.
    pub client: u32,
    /// When it was called.
    pub call: Micros,
    /// When its outcome was known.
    pub end: Micros,
    /// What was asked.
    pub action: Action,
    /// What came of it.
    pub outcome: Outcome,
}

impl Operation {
    /// The revision and the answer of one that happened.
    pub fn answer(&self) -> Option<(i64, &Answer)> {
        match &self.outcome {
            Outcome::Ok { revision, answer, .. } => Some((*revision, answer)),
            Outcome::Failed(_) | Outcome::Unknown(_) => None,
        }
    }
}

/// One change, as a watcher was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Whether the key was deleted; then the pair holds only key and revision.
    pub deleted: bool,
    /// The pair after.
    pub pair: Pair,
    /// The pair before, if it was asked for and existed.
    pub before: Option<Pair>,
}

/// One response to a watcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants say what they are")]
pub enum Notice {
    /// The watch exists.
    Created { revision: i64 },
    /// Changes.
    Changes { changes: Vec<Change> },
    /// Everything up to this revision was delivered.
    Progress { revision: i64 },
    /// It ended because of a compaction.
    Compacted { revision: i64 },
}

/// What a watcher was told, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Which watcher.
    pub watcher: u32,
    /// What it watched.
    pub keys: Keys,
    /// The first revision that it asked for; 0 for what comes after its creation.
    pub from: i64,
    /// Whether it asked for pairs before.
    pub wants_before: bool,
    /// Whether it was there to the end, so that everything had to come.
    pub to_the_end: bool,
    /// When, and what.
    pub notices: Vec<(Micros, Notice)>,
}

/// What a member holds at the end, up to the last revision that the run itself wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtRest {
    /// Which member.
    pub member: String,
    /// That revision.
    pub revision: i64,
    /// Its HashKV up to that.
    pub hash: u32,
    /// The revision up to which history was compacted.
    pub compacted: i64,
    /// All of its pairs.
    pub pairs: Vec<Pair>,
}

/// What was done to the cluster in a span of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disturbance {
    /// The fault, and whom it struck.
    pub what: String,
    /// Its beginning.
    pub from: Micros,
    /// When the cluster was whole and had a leader again.
    pub until: Micros,
}

/// What holds for a whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The seed.
    pub seed: u64,
    /// The election timeout.
    pub election_ms: u64,
}

/// Everything about a run that is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// What holds throughout.
    pub setting: Setting,
    /// What clients did.
    pub operations: Vec<Operation>,
    /// What watchers saw. The first watched everything from the first revision on.
    pub watched: Vec<Watched>,
    /// The members at the end.
    pub at_rest: Vec<AtRest>,
    /// What was done to them.
    pub disturbances: Vec<Disturbance>,
}

/// A line of a file.
#[derive(Serialize, Deserialize)]
enum Line {
    Setting(Setting),
    Operation(Operation),
    Watched(Watched),
    AtRest(AtRest),
    Disturbance(Disturbance),
}

impl History {
    /// Writes it to a new file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        let mut write = |line: Line| -> io::Result<()> {
            serde_json::to_writer(&mut file, &line)?;
            file.write_all(b"\n")
        };
        write(Line::Setting(self.setting.clone()))?;
        self.disturbances.iter().cloned().map(Line::Disturbance).try_for_each(&mut write)?;
        self.operations.iter().cloned().map(Line::Operation).try_for_each(&mut write)?;
        self.watched.iter().cloned().map(Line::Watched).try_for_each(&mut write)?;
        self.at_rest.iter().cloned().map(Line::AtRest).try_for_each(&mut write)?;
        file.flush()
    }

    /// Reads a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn load(path: &Path) -> io::Result<Self> {
        let mut history = Self::default();
        for line in BufReader::new(File::open(path)?).lines() {
            match serde_json::from_str(&line?)? {
                Line::Setting(setting) => history.setting = setting,
                Line::Operation(operation) => history.operations.push(operation),
                Line::Watched(watched) => history.watched.push(watched),
                Line::AtRest(at_rest) => history.at_rest.push(at_rest),
                Line::Disturbance(disturbance) => history.disturbances.push(disturbance),
            }
        }
        Ok(history)
    }

    /// How many operations had which outcome: happened, failed, unknown.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for operation in &self.operations {
            let name = match operation.outcome {
                Outcome::Ok { .. } => "ok",
                Outcome::Failed(_) => "failed",
                Outcome::Unknown(_) => "unknown",
            };
            *counts.entry(name).or_default() += 1;
        }
        counts
    }
}
