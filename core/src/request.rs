//! Requests and responses, the same on every surface and for every caller.
//!
//! A request arrives here decoded but unchecked; [`crate::state::check`] checks it before it is proposed.
//! Field meanings and defaults are etcd's v3 API.

use crate::hidden::Hidden;
use crate::key_range::KeyRange;
use crate::member::Member;
use crate::record::KeyValue;
use crate::revision::LeaseId;
use bytes::Bytes;
use std::fmt;

/// What every response says about the store that answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Identity of the cluster.
    pub cluster_id: u64,
    /// Identity of the member that answered.
    pub member_id: u64,
    /// The revision of the write; for reads the newest revision of the store.
    pub revision: i64,
    /// The raft term of the member.
    pub raft_term: u64,
}

/// Direction of a sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// No order is asked for; keys come in key order, other targets ascending.
    #[default]
    None,
    /// Smallest first.
    Ascend,
    /// Largest first.
    Descend,
}

/// What a range is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say what they are")]
pub enum SortTarget {
    #[default]
    Key,
    Version,
    Create,
    Mod,
    Value,
}

/// Reads a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRequest {
    /// Which keys.
    pub range: KeyRange,
    /// At most this many keys; 0 or less for all.
    pub limit: i64,
    /// Read as of this revision; 0 or less for the newest.
    pub revision: i64,
    /// Direction of the sort.
    pub sort_order: SortOrder,
    /// What to sort by.
    pub sort_target: SortTarget,
    /// Whether an answer from local, perhaps old, state is good enough.
    pub serializable: bool,
    /// Leave values (and leases) out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// Drop keys changed before this revision; 0 for no filter.
    pub min_mod_revision: i64,
    /// Drop keys changed after this revision; 0 for no filter.
    pub max_mod_revision: i64,
    /// Drop keys created before this revision; 0 for no filter.
    pub min_create_revision: i64,
    /// Drop keys created after this revision; 0 for no filter.
    pub max_create_revision: i64,
}

impl RangeRequest {
    /// Everything in `range`, newest revision, linearizable.
    pub fn new(range: KeyRange) -> Self {
        Self {
            range,
            limit: 0,
            revision: 0,
            sort_order: SortOrder::None,
            sort_target: SortTarget::Key,
            serializable: false,
            keys_only: false,
            count_only: false,
            min_mod_revision: 0,
            max_mod_revision: 0,
            min_create_revision: 0,
            max_create_revision: 0,
        }
    }

    /// Whether a limit counts before anything is sorted. As in etcd that is so without an order, whatever the sort
    /// target: one pair more than the limit is taken in key order, these are sorted, and the last is left out.
    pub fn limit_comes_first(&self) -> bool {
        let in_key_order = self.sort_target == SortTarget::Key && self.sort_order == SortOrder::Ascend;
        (self.sort_order == SortOrder::None || in_key_order) && !self.has_filters()
    }

    /// Whether pairs are answered in the order of the walk, so that an answer can be gone on with from its last key: key
    /// order ascending and no filter by revision.
    pub fn limit_stops_walk(&self) -> bool {
        self.sort_target == SortTarget::Key && self.sort_order != SortOrder::Descend && !self.has_filters()
    }

    /// Whether the index knows the whole answer, so that no record is read.
    pub fn answers_from_index(&self) -> bool {
        self.keys_only && self.sort_target != SortTarget::Value
    }

    /// Whether any revision filter is set.
    pub fn has_filters(&self) -> bool {
        self.min_mod_revision != 0
            || self.max_mod_revision != 0
            || self.min_create_revision != 0
            || self.max_create_revision != 0
    }
}

/// Answer to a [`RangeRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeResponse {
    /// Who answered and when.
    pub header: Header,
    /// The keys, in the order asked for.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut something off.
    pub more: bool,
    /// All keys in the range at that revision, whatever limit and filters.
    pub count: i64,
}

/// Writes one key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PutRequest {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// Attach to this lease; none detaches.
    pub lease: LeaseId,
    /// Answer with the pair before.
    pub prev_kv: bool,
    /// Keep the value that is there.
    pub ignore_value: bool,
    /// Keep the lease that is there.
    pub ignore_lease: bool,
}

/// Answer to a [`PutRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutResponse {
    /// Who answered and when.
    pub header: Header,
    /// The pair before, if asked for and present.
    pub prev_kv: Option<KeyValue>,
}

/// Deletes a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRangeRequest {
    /// Which keys.
    pub range: KeyRange,
    /// Answer with the pairs that were deleted.
    pub prev_kv: bool,
}

/// Answer to a [`DeleteRangeRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRangeResponse {
    /// Who answered and when.
    pub header: Header,
    /// How many keys were deleted.
    pub deleted: i64,
    /// The pairs that were deleted, if asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// How a compare relates the stored to the given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say what they are")]
pub enum CompareResult {
    Equal,
    Greater,
    Less,
    NotEqual,
}

/// What a compare looks at, and what it compares with.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say what they are")]
pub enum CompareTarget {
    Version(i64),
    Create(i64),
    Mod(i64),
    Value(Bytes),
    Lease(LeaseId),
}

/// One condition of a txn. With a range it must hold for every key in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Which keys.
    pub range: KeyRange,
    /// The relation: stored `result` given.
    pub result: CompareResult,
    /// The field and the given value.
    pub target: CompareTarget,
}

/// One operation of a txn.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say what they are")]
pub enum TxnOp {
    Range(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
}

/// Compares, then one of two lists of operations, atomically.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnRequest {
    /// All must hold for `success` to run.
    pub compare: Vec<Compare>,
    /// Runs if all compares hold.
    pub success: Vec<TxnOp>,
    /// Runs otherwise.
    pub failure: Vec<TxnOp>,
}

/// Answer to one [`TxnOp`]. Headers inside a txn carry only the revision that the operation saw; those of nested txns are
/// empty.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say what they are")]
pub enum TxnOpResponse {
    Range(RangeResponse),
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Txn(TxnResponse),
}

/// Answer to a [`TxnRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnResponse {
    /// Who answered and when.
    pub header: Header,
    /// Whether the compares held.
    pub succeeded: bool,
    /// One answer for each operation that ran, in order.
    pub responses: Vec<TxnOpResponse>,
}

/// Drops history below a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactRequest {
    /// The oldest revision that stays readable.
    pub revision: i64,
    /// Answer only when the data is really gone.
    pub physical: bool,
}

/// Answer to a [`CompactRequest`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactResponse {
    /// Who answered and when.
    pub header: Header,
}

/// Creates a lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseGrantRequest {
    /// Time to live, in seconds.
    pub ttl_s: i64,
    /// The id to use; none lets the store choose a positive one.
    pub id: LeaseId,
}

/// Answer to a [`LeaseGrantRequest`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseGrantResponse {
    /// Who answered and when.
    pub header: Header,
    /// The lease.
    pub id: LeaseId,
    /// The TTL that was granted, in seconds; at least the store's minimum.
    pub ttl_s: i64,
}

/// Answer to the revocation of a lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseRevokeResponse {
    /// Who answered and when.
    pub header: Header,
}

/// Answer to a keepalive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseKeepAliveResponse {
    /// Who answered and when.
    pub header: Header,
    /// The lease.
    pub id: LeaseId,
    /// The renewed TTL in seconds; 0 if there is no such lease.
    pub ttl_s: i64,
}

/// Asks for the rest of a lease's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseTimeToLiveRequest {
    /// The lease.
    pub id: LeaseId,
    /// Also list the attached keys.
    pub keys: bool,
}

/// Answer to a [`LeaseTimeToLiveRequest`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LeaseTimeToLiveResponse {
    /// Who answered and when.
    pub header: Header,
    /// The lease.
    pub id: LeaseId,
    /// Seconds left; -1 if there is no such lease.
    pub ttl_s: i64,
    /// The TTL that was granted, in seconds.
    pub granted_ttl_s: i64,
    /// Attached keys, if asked for.
    pub keys: Vec<Bytes>,
}

/// Answer to a listing of leases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseListResponse {
    /// Who answered and when.
    pub header: Header,
    /// All leases, ascending.
    pub leases: Vec<LeaseId>,
}

/// Hash over the content of the store, equal to etcd's for equal content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashKvResponse {
    /// Who answered and when.
    pub header: Header,
    /// CRC-32C as etcd computes it.
    pub hash: u32,
    /// The store's compact revision at that time; 0 if never compacted.
    pub compact_revision: i64,
    /// The revision that was hashed.
    pub hash_revision: i64,
}

/// What an alarm says is wrong with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// Its store has reached the quota: nothing that grows the store is taken.
    NoSpace,
    /// Its content is not what it should be: nothing is changed any more.
    Corrupt,
}

impl fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AlarmKind::NoSpace => "NOSPACE",
            AlarmKind::Corrupt => "CORRUPT",
        })
    }
}

/// An alarm that is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alarm {
    /// The member it was raised for.
    pub member: u64,
    /// What is wrong.
    pub kind: AlarmKind,
}

/// What to do with alarms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants say what they are")]
pub enum AlarmAction {
    #[default]
    Get,
    Activate,
    Deactivate,
}

/// Lists, raises or clears alarms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlarmRequest {
    /// What to do.
    pub action: AlarmAction,
    /// For which member; a listing names all.
    pub member: u64,
    /// Which kind; a listing without one names all kinds, anything else without one does nothing.
    pub kind: Option<AlarmKind>,
}

/// Answer to an [`AlarmRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlarmResponse {
    /// Who answered and when.
    pub header: Header,
    /// Those asked for; the one that is raised now; or the one that was cleared.
    pub alarms: Vec<Alarm>,
}

/// A change of who belongs to the cluster, or who leads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberRequest {
    /// Adds a member. One that is to vote begins as a learner, and gets its vote once it has the log.
    Add {
        /// Where other members will reach it.
        peer_urls: Vec<String>,
        /// Whether it is to stay a learner.
        learner: bool,
    },
    /// Gives a learner a vote.
    Promote {
        /// Its id.
        id: u64,
    },
    /// Removes a member.
    Remove {
        /// Its id.
        id: u64,
    },
    /// Changes where other members reach a member.
    Update {
        /// Its id.
        id: u64,
        /// Where they reach it from now on.
        peer_urls: Vec<String>,
    },
    /// Hands the lead over; this member must lead.
    MoveLeader {
        /// To whom.
        id: u64,
    },
    /// Puts a new member in the place of one whose store was lost or damaged: removes it, and adds a new one with the same
    /// peer URLs and, as soon as it has the log, the same vote.
    Replace {
        /// The id of the one that goes.
        id: u64,
    },
}

/// Who belongs to the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembersResponse {
    /// Who answers and when.
    pub header: Header,
    /// The members, ascending by id, each with whether it has a vote.
    pub members: Vec<(Member, bool)>,
    /// Who leads; 0 if nobody is known to.
    pub leader: u64,
    /// The id of the member that was added; 0 if none was.
    pub added: u64,
}

/// A member's view of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusResponse {
    /// Who answered and when.
    pub header: Header,
    /// Our own version.
    pub version: String,
    /// Bytes that the store takes on disk.
    pub db_size_bytes: u64,
    /// Bytes of that which are in use.
    pub db_size_in_use_bytes: u64,
    /// Member id of the leader; 0 if none is known.
    pub leader: u64,
    /// Newest index in the log.
    pub raft_index: u64,
    /// Newest index applied.
    pub raft_applied_index: u64,
    /// The raft term.
    pub raft_term: u64,
    /// Whether the member has no vote.
    pub is_learner: bool,
    /// The oldest readable revision; 0 if never compacted.
    pub compact_revision: i64,
    /// Live keys.
    pub keys: u64,
    /// Leases.
    pub leases: u64,
    /// Watchers on this member.
    pub watchers: u64,
    /// The backend's name.
    pub backend: String,
    /// Whether stored data is sealed.
    pub sealed: bool,
    /// Bytes in use at which this member takes nothing more; 0 for no quota.
    pub quota_bytes: u64,
    /// The alarms that are raised, of any member.
    pub alarms: Vec<Alarm>,
    /// What is wrong, one sentence each.
    pub errors: Vec<String>,
}

// Keys and values never reach logs: `Debug` shows sizes only.
impl fmt::Debug for PutRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutRequest")
            .field("key", &Hidden(&self.key))
            .field("value", &Hidden(&self.value))
            .field("lease", &self.lease)
            .field("prev_kv", &self.prev_kv)
            .field("ignore_value", &self.ignore_value)
            .field("ignore_lease", &self.ignore_lease)
            .finish()
    }
}

impl fmt::Debug for CompareTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => f.debug_tuple("Version").field(version).finish(),
            Self::Create(revision) => f.debug_tuple("Create").field(revision).finish(),
            Self::Mod(revision) => f.debug_tuple("Mod").field(revision).finish(),
            Self::Value(value) => f.debug_tuple("Value").field(&Hidden(value)).finish(),
            Self::Lease(lease) => f.debug_tuple("Lease").field(lease).finish(),
        }
    }
}

impl fmt::Debug for LeaseTimeToLiveResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseTimeToLiveResponse")
            .field("header", &self.header)
            .field("id", &self.id)
            .field("ttl_s", &self.ttl_s)
            .field("granted_ttl_s", &self.granted_ttl_s)
            .field("keys", &self.keys.len())
            .finish()
    }
}
