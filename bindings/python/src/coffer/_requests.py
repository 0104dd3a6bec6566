"""Every call that can wait or complete at a queue, once for both surfaces."""

import os
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, Mapping, Optional, Tuple, Union

from coffer import _decode, _encode
from coffer._call import Request, call
from coffer._encode import Handle, OptionValue
from coffer._native import ffi, lib
from coffer.data import (
    DeleteResult,
    HashKv,
    Keys,
    KeyValue,
    Lease,
    LeaseInfo,
    Member,
    PutResult,
    RangeResult,
    SnapshotInfo,
    StoreInfo,
    TxnResult,
)
from coffer.ranges import Data, to_bytes, to_range
from coffer.txn import Delete, Get, Put, Txn

PathText = Union[str, "os.PathLike[str]"]


def put(store: Handle, put: Put) -> Request[PutResult]:
    """Writes a key."""
    key, value = _encode.data(to_bytes(put.key)), _encode.data(to_bytes(put.value))
    options = _encode.put_options(put)
    return Request(lambda *rest: lib.coffer_put(store, key, value, options, *rest), _decode.put)


def get(store: Handle, key: Data, get: Get) -> Request[Optional[KeyValue]]:
    """Reads one key."""
    data, options = _encode.data(to_bytes(key)), _encode.read_options(get)
    return Request(lambda *rest: lib.coffer_get(store, data, options, *rest), _decode.found)


def read(store: Handle, get: Get) -> Request[RangeResult]:
    """Reads a range in one answer."""
    keys, options = _encode.key_range(to_range(get.range)), _encode.read_options(get)
    return Request(lambda *rest: lib.coffer_range(store, keys, options, *rest), _decode.ranged)


def page(iterator: Handle) -> Request[Optional[Tuple[int, List[KeyValue]]]]:
    """Reads the next page."""
    return Request(lambda *rest: lib.coffer_iter_next(iterator, *rest), _decode.page)


def delete(store: Handle, delete: Delete) -> Request[DeleteResult]:
    """Deletes a range."""
    keys, flags = _encode.key_range(to_range(delete.range)), delete.previous * lib.COFFER_DELETE_PREVIOUS
    return Request(lambda *rest: lib.coffer_delete(store, keys, flags, *rest), _decode.delete)


def commit(store: Handle, txn: Txn) -> Request[TxnResult]:
    """Runs a transaction."""

    def start(*rest: Any) -> int:
        with _built(txn) as handle:
            return int(lib.coffer_txn_commit(store, handle, *rest))

    return Request(start, lambda _status, result: _decode.committed(txn, result, result.revision))


@contextmanager
def _built(txn: Txn) -> Iterator[Handle]:
    """A transaction of the library with the same content."""
    made = ffi.new("coffer_txn *")
    call(lib.coffer_txn_new, made)
    handle: Handle = (made.id,)
    try:
        for it in txn.conditions:
            of_value = isinstance(it.given, bytes)
            number, value = (0, it.given) if of_value else (it.given, b"")
            keys = _encode.key_range(it.range)
            call(lib.coffer_txn_compare, handle, keys, it.target, it.relation, number, _encode.data(value))  # type: ignore[arg-type]
        for branch, operations in zip((lib.COFFER_THEN, lib.COFFER_ELSE), txn.branches):
            for operation in operations:
                _add(handle, branch, operation)
        yield handle
    finally:
        lib.coffer_txn_close(handle, ffi.NULL)


def _add(handle: Handle, branch: int, it: Union[Put, Get, Delete, Txn]) -> None:
    if isinstance(it, Put):
        key, value = _encode.data(to_bytes(it.key)), _encode.data(to_bytes(it.value))
        call(lib.coffer_txn_put, handle, branch, key, value, _encode.put_options(it))
    elif isinstance(it, Get):
        keys = _encode.key_range(to_range(it.range))
        call(lib.coffer_txn_range, handle, branch, keys, _encode.read_options(it))
    elif isinstance(it, Delete):
        keys, flags = _encode.key_range(to_range(it.range)), it.previous * lib.COFFER_DELETE_PREVIOUS
        call(lib.coffer_txn_delete, handle, branch, keys, flags)
    else:
        with _built(it) as inner:
            call(lib.coffer_txn_nest, handle, branch, inner)


def lease_grant(store: Handle, ttl_s: int, lease: int) -> Request[Lease]:
    """Creates a lease."""
    return Request(lambda *rest: lib.coffer_lease_grant(store, ttl_s, lease, *rest), _decode.lease)


def lease_revoke(store: Handle, lease: int) -> Request[int]:
    """Ends a lease."""
    return Request(lambda *rest: lib.coffer_lease_revoke(store, lease, *rest), _decode.revision)


def lease_renew(store: Handle, lease: int) -> Request[Lease]:
    """Renews a lease once."""
    return Request(lambda *rest: lib.coffer_lease_renew(store, lease, *rest), _decode.lease)


def lease_info(store: Handle, lease: int, keys: bool) -> Request[LeaseInfo]:
    """Tells what is left of a lease."""
    return Request(lambda *rest: lib.coffer_lease_time_to_live(store, lease, int(keys), *rest), _decode.lease_info)


def leases(store: Handle) -> Request[List[int]]:
    """Lists all leases."""
    return Request(lambda *rest: lib.coffer_lease_list(store, *rest), _decode.leases)


def compact(store: Handle, revision: int, physical: bool) -> Request[None]:
    """Makes old revisions unreadable."""
    flags = physical * lib.COFFER_COMPACT_PHYSICAL
    return Request(lambda *rest: lib.coffer_compact(store, revision, flags, *rest), _decode.nothing)


def status(store: Handle) -> Request[StoreInfo]:
    """Tells how the store is."""
    return Request(lambda *rest: lib.coffer_store_status(store, *rest), _decode.store)


def hash_kv(store: Handle, revision: int) -> Request[HashKv]:
    """Tells a hash over the content."""
    return Request(lambda *rest: lib.coffer_hash_kv(store, revision, *rest), _decode.hash_kv)


def members(store: Handle, linearizable: bool) -> Request[List[Member]]:
    """Lists who belongs to the cluster."""
    return Request(lambda *rest: lib.coffer_member_list(store, int(linearizable), *rest), _decode.members)


def snapshot_save(store: Handle, path: PathText) -> Request[SnapshotInfo]:
    """Saves all of a store to a file."""
    name = _encode.text(path)
    return Request(lambda *rest: lib.coffer_snapshot_save(store, name, *rest), _decode.snapshot)


# What follows always waits: the library has no queue for it.


def key_status(store: Handle) -> Request[Keys]:
    """Tells which keys a store has."""
    return _waiting(lambda *rest: lib.coffer_key_status(store, *rest), _decode.keys)


def key_add(store: Handle, label: Optional[str], seal: Mapping[str, OptionValue]) -> Request[Keys]:
    """Adds a key that opens the store."""
    options, name = _encode.options(seal), ffi.NULL if label is None else _encode.text(label)
    return _waiting(lambda *rest: lib.coffer_key_add(store, options, len(options), name, *rest), _decode.keys)


def key_remove(store: Handle, slot: int) -> Request[Keys]:
    """Takes the key of a slot away."""
    return _waiting(lambda *rest: lib.coffer_key_remove(store, slot, *rest), _decode.keys)


def key_rotate_kek(store: Handle, slot: int, seal: Mapping[str, OptionValue]) -> Request[Keys]:
    """Replaces the key of a slot."""
    options = _encode.options(seal)
    return _waiting(lambda *rest: lib.coffer_key_rotate_kek(store, slot, options, len(options), *rest), _decode.keys)


def key_rotate_data(store: Handle, rewrite: bool) -> Request[Keys]:
    """Makes a new data key."""
    flags = rewrite * lib.COFFER_ROTATE_REWRITE
    return _waiting(lambda *rest: lib.coffer_key_rotate_data(store, flags, *rest), _decode.keys)


def snapshot_status(path: PathText, seal: Mapping[str, OptionValue]) -> Request[SnapshotInfo]:
    """Reads all of a snapshot file."""
    name, options = _encode.text(path), _encode.options(seal)
    return _waiting(lambda *rest: lib.coffer_snapshot_status(name, options, len(options), *rest), _decode.snapshot)


def snapshot_restore(path: PathText, directory: PathText, seal: Mapping[str, OptionValue]) -> Request[SnapshotInfo]:
    """Makes a new store from a snapshot file."""
    name, place, options = _encode.text(path), _encode.text(directory), _encode.options(seal)
    return _waiting(
        lambda *rest: lib.coffer_snapshot_restore(name, place, options, len(options), *rest), _decode.snapshot
    )


def _waiting(start: Callable[[Any, Any], int], decode: Callable[[int, Any], Any]) -> Request[Any]:
    """A call that takes no `coffer_call`."""
    return Request(lambda _call, result, error: start(result, error), decode, always_waits=True)
