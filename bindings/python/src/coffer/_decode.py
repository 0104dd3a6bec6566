"""Results of the library as Python values. Everything is copied: the result can be freed at once."""

from typing import Any, List, Optional, Tuple

from coffer._native import ffi, lib
from coffer.data import (
    DataKey,
    DeleteResult,
    Event,
    EventKind,
    HashKv,
    Keys,
    KeySlot,
    KeyValue,
    Lease,
    LeaseInfo,
    Member,
    OpResult,
    PutResult,
    RangeResult,
    SnapshotInfo,
    StoreInfo,
    TxnResult,
    Update,
)
from coffer.txn import Delete, Get, Put, Txn

_buffer = ffi.buffer
_KINDS = {lib.COFFER_EVENT_PUT: EventKind.PUT, lib.COFFER_EVENT_DELETE: EventKind.DELETE}


def data(data: Any) -> bytes:
    """A `coffer_bytes`."""
    length = data.len
    return bytes(_buffer(data.data, length)) if length else b""


def text(text: Any) -> str:
    """A C string, which may be NULL."""
    return "" if text == ffi.NULL else ffi.string(text).decode("utf-8", "replace")


def key_value(kv: Any) -> KeyValue:
    """A `coffer_kv`."""
    return KeyValue(data(kv.key), data(kv.value), kv.create_revision, kv.mod_revision, kv.version, kv.lease)


def key_values(result: Any) -> List[KeyValue]:
    """All pairs of a result."""
    kvs = result.kvs
    return [key_value(kvs[i]) for i in range(result.kv_count)]


def found(status: int, result: Any) -> Optional[KeyValue]:
    """The pair that was looked for."""
    return None if status == lib.COFFER_NOT_FOUND else key_value(result.kvs[0])


def page(status: int, result: Any) -> Optional[Tuple[int, List[KeyValue]]]:
    """The revision of a page and its pairs; None at the end."""
    return None if status == lib.COFFER_END else (result.revision, key_values(result))


def nothing(_status: int, _result: Any) -> None:
    """Of calls that answer only that they worked."""


def revision(_status: int, result: Any) -> int:
    """The store's revision."""
    return int(result.revision)


def put(_status: int, result: Any) -> PutResult:
    """Of a put."""
    return _put(result, result.revision)


def ranged(_status: int, result: Any) -> RangeResult:
    """Of a range."""
    return _range(result, result.revision)


def delete(_status: int, result: Any) -> DeleteResult:
    """Of a delete."""
    return _delete(result, result.revision)


def committed(txn: Txn, result: Any, revision: int) -> TxnResult:
    """Of a transaction. All of it bears the revision of the outermost."""
    succeeded = bool(result.flags & lib.COFFER_RESULT_SUCCEEDED)
    operations = txn.branches[0 if succeeded else 1]
    results: List[OpResult] = []
    for i in range(result.part_count):
        operation, part = operations[i], result.parts[i]
        if isinstance(operation, Put):
            results.append(_put(part, revision))
        elif isinstance(operation, Get):
            results.append(_range(part, revision))
        elif isinstance(operation, Delete):
            results.append(_delete(part, revision))
        else:
            results.append(committed(operation, part, revision))
    return TxnResult(revision, succeeded, results)


def _put(result: Any, revision: int) -> PutResult:
    return PutResult(revision, key_value(result.kvs[0]) if result.kv_count else None)


def _range(result: Any, revision: int) -> RangeResult:
    more = bool(result.flags & lib.COFFER_RESULT_MORE)
    return RangeResult(revision, key_values(result), result.count, more)


def _delete(result: Any, revision: int) -> DeleteResult:
    return DeleteResult(revision, result.count, key_values(result))


def update(result: Any) -> Update:
    """What a watch saw."""
    events = [_event(result.events[i]) for i in range(result.event_count)]
    return Update(result.revision, events, bool(result.flags & lib.COFFER_RESULT_FRAGMENT))


def _event(event: Any) -> Event:
    previous = None if event.previous == ffi.NULL else key_value(event.previous[0])
    return Event(_KINDS[event.kind], key_value(event.kv), previous)


def lease(_status: int, result: Any) -> Lease:
    """Of a grant or a renewal."""
    return Lease(result.lease, result.ttl_s)


def lease_info(_status: int, result: Any) -> LeaseInfo:
    """How a lease is."""
    keys = [data(result.kvs[i].key) for i in range(result.kv_count)]
    return LeaseInfo(result.lease, result.ttl_s, result.granted_ttl_s, keys)


def leases(_status: int, result: Any) -> List[int]:
    """All leases."""
    return [result.leases[i] for i in range(result.lease_count)]


def store(_status: int, result: Any) -> StoreInfo:
    """How the store is."""
    it = result.store
    return StoreInfo(
        cluster_id=result.cluster_id,
        member_id=result.member_id,
        revision=result.revision,
        raft_term=result.raft_term,
        raft_index=it.raft_index,
        raft_applied_index=it.raft_applied_index,
        leader=it.leader,
        version=text(it.version),
        backend=text(it.backend),
        sealed=bool(it.flags & lib.COFFER_STORE_SEALED),
        learner=bool(it.flags & lib.COFFER_STORE_LEARNER),
        no_space=bool(it.flags & lib.COFFER_STORE_NO_SPACE),
        corrupt=bool(it.flags & lib.COFFER_STORE_CORRUPT),
        errors=text(it.errors).splitlines(),
        size_bytes=it.size_bytes,
        in_use_bytes=it.in_use_bytes,
        quota_bytes=it.quota_bytes,
        compact_revision=it.compact_revision,
        keys=it.keys,
        leases=it.leases,
        watchers=it.watchers,
    )


def hash_kv(_status: int, result: Any) -> HashKv:
    """A hash over the content."""
    return HashKv(result.hash, result.revision, result.compact_revision)


def members(_status: int, result: Any) -> List[Member]:
    """Members of the cluster."""
    return [_member(result.members[i]) for i in range(result.member_count)]


def _member(it: Any) -> Member:
    return Member(
        id=it.id,
        name=text(it.name),
        peer_urls=_urls(it.peer_urls),
        client_urls=_urls(it.client_urls),
        learner=bool(it.flags & lib.COFFER_MEMBER_LEARNER),
        leader=bool(it.flags & lib.COFFER_MEMBER_LEADER),
    )


def _urls(urls: Any) -> List[str]:
    return [url for url in text(urls).split(",") if url]


def snapshot(_status: int, result: Any) -> SnapshotInfo:
    """A snapshot, and what opens it."""
    it = result.snapshot
    return SnapshotInfo(
        cluster_id=it.cluster_id,
        member_id=it.member_id,
        revision=it.revision,
        compact_revision=it.compact_revision,
        created_s=it.created_s,
        bytes=it.bytes,
        records=it.records,
        keys=it.keys,
        leases=it.leases,
        hash=it.hash,
        sealed=bool(it.flags & lib.COFFER_SNAPSHOT_SEALED),
        slots=[] if result.keys == ffi.NULL else _slots(result.keys),
    )


def keys(_status: int, result: Any) -> Keys:
    """Keys of a store."""
    it = result.keys
    return Keys(
        slots=_slots(it),
        data_keys=[_data_key(it.data_keys[i]) for i in range(it.data_key_count)],
        rewriting=bool(it.rewriting),
        changed_id=it.changed_id,
        outdated_bytes=it.outdated_bytes,
    )


def _slots(keys: Any) -> List[KeySlot]:
    slots = (keys.slots[i] for i in range(keys.slot_count))
    return [KeySlot(it.id, text(it.kind), text(it.label), it.created_s) for it in slots]


def _data_key(it: Any) -> DataKey:
    active = bool(it.flags & lib.COFFER_DATA_KEY_ACTIVE)
    in_use = bool(it.flags & lib.COFFER_DATA_KEY_IN_USE)
    return DataKey(it.id, active, in_use, it.created_s, it.sealed_bytes)
