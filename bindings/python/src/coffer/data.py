"""What calls answer: plain immutable tuples. None of them shows keys or values when it is printed."""

from enum import Enum
from typing import List, NamedTuple, Optional, Union


class KeyValue(NamedTuple):
    """A key and its value."""

    key: bytes
    value: bytes
    create_revision: int
    """The revision at which the key was created; 0 of one that was deleted."""
    mod_revision: int
    """The revision at which it was last written."""
    version: int
    """How often it was written since it was created; 0 of one that was deleted."""
    lease: int
    """The lease that it ends with; 0 for none."""

    def __repr__(self) -> str:
        return (
            f"KeyValue(key=<{len(self.key)} bytes>, value=<{len(self.value)} bytes>, "
            f"create_revision={self.create_revision}, mod_revision={self.mod_revision}, "
            f"version={self.version}, lease={self.lease})"
        )


class PutResult(NamedTuple):
    """A key was written."""

    revision: int
    previous: Optional[KeyValue]
    """The pair before, if it was asked for and there was one."""


class DeleteResult(NamedTuple):
    """Keys were deleted."""

    revision: int
    deleted: int
    """How many."""
    previous: List[KeyValue]
    """The pairs before, if they were asked for."""


class RangeResult(NamedTuple):
    """Keys were read."""

    revision: int
    kvs: List[KeyValue]
    total: int
    """How many keys there are in the range, those that a limit left out included."""
    more: bool
    """There are more than the limit let through."""


class TxnResult(NamedTuple):
    """A transaction ran."""

    revision: int
    succeeded: bool
    """All conditions held."""
    results: "List[OpResult]"
    """The answers to the operations that ran, in order."""


OpResult = Union[PutResult, DeleteResult, RangeResult, TxnResult]


class EventKind(Enum):
    """What happened to a key."""

    PUT = 0
    DELETE = 1


class Event(NamedTuple):
    """One change of one key."""

    kind: EventKind
    kv: KeyValue
    """The pair as it is now; of a deleted one only the key and `mod_revision`."""
    previous: Optional[KeyValue]
    """The pair before, if it was asked for, existed and is still readable."""


class Update(NamedTuple):
    """What a watch saw: the events of whole revisions, or of a part of one that is large."""

    revision: int
    """Everything up to this revision was delivered, unless it is a `fragment`."""
    events: List[Event]
    """Empty of one that only tells progress."""
    fragment: bool
    """More events of the same revision follow with the next update."""


class Lease(NamedTuple):
    """A lease was granted or renewed."""

    id: int
    ttl_s: int
    """What it has left, in seconds."""


class LeaseInfo(NamedTuple):
    """How a lease is."""

    id: int
    ttl_s: int
    """What it has left, in seconds; -1 if there is no such lease."""
    granted_ttl_s: int
    """What it was granted with."""
    keys: List[bytes]
    """Its keys, if they were asked for."""


class StoreInfo(NamedTuple):
    """How the member that answers sees its store."""

    cluster_id: int
    member_id: int
    revision: int
    raft_term: int
    raft_index: int
    raft_applied_index: int
    leader: int
    """The member that leads; 0 if none is known."""
    version: str
    """The version of the program or library that has the store open."""
    backend: str
    """`"segment"`, `"sqlite"` or `"memory"`."""
    sealed: bool
    learner: bool
    """The member that answers has no vote."""
    no_space: bool
    corrupt: bool
    errors: List[str]
    """What does not work."""
    size_bytes: int
    in_use_bytes: int
    quota_bytes: int
    """0 for none."""
    compact_revision: int
    """The oldest revision that can be read is the one above it."""
    keys: int
    leases: int
    watchers: int


class HashKv(NamedTuple):
    """A hash over the content, equal to etcd's for equal content."""

    hash: int
    revision: int
    """The revision that was hashed up to."""
    compact_revision: int


class Member(NamedTuple):
    """A member of a cluster."""

    id: int
    name: str
    peer_urls: List[str]
    client_urls: List[str]
    learner: bool
    leader: bool


class SnapshotInfo(NamedTuple):
    """What a snapshot file holds, or what was made of it."""

    cluster_id: int
    member_id: int
    revision: int
    """The revision that it holds all of."""
    compact_revision: int
    """The oldest revision in it."""
    created_s: int
    """When it was taken, in seconds since 1970; 0 of a restored store."""
    bytes: int
    """Its size."""
    records: int
    keys: int
    """How many keys a restored store has; else 0."""
    leases: int
    hash: int
    """Of a restored store its hash; else 0."""
    sealed: bool
    slots: "List[KeySlot]"
    """What opens it, where that was asked for."""


class KeySlot(NamedTuple):
    """A key that opens a store."""

    id: int
    """Never used twice in a store."""
    kind: str
    """`"passphrase"`, `"key-file"`, `"command"` or `"kms"`."""
    label: str
    created_s: int


class DataKey(NamedTuple):
    """A key that data is sealed with."""

    id: int
    active: bool
    """New data is sealed with it."""
    in_use: bool
    """Something needs it now."""
    created_s: int
    sealed_bytes: int


class Keys(NamedTuple):
    """The keys of a store. None of it is secret."""

    slots: List[KeySlot]
    data_keys: List[DataKey]
    """Oldest first."""
    rewriting: bool
    """Data of older keys is being carried over to the active one."""
    changed_id: int
    """The slot or the data key that the call made or changed; 0 of a mere look."""
    outdated_bytes: int
    """Bytes of records that older data keys sealed."""


