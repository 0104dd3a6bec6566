"""The store, with calls that wait."""

import warnings
from types import TracebackType
from typing import Any, Callable, List, Optional, Type, TypeVar

from coffer import _encode, _requests, errors
from coffer._call import call, run
from coffer._core import BlockingCore, drive, update
from coffer._core import Draft as CoreDraft
from coffer._encode import NO_HANDLE, Handle, OptionValue
from coffer._native import ffi, lib
from coffer._requests import PathText
from coffer.coordination import Session
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
from coffer.lease import Keeper
from coffer.pages import RangeIterator
from coffer.ranges import Data, RangeLike, to_bytes
from coffer.txn import Delete, Get, Put, Sort, Txn
from coffer.watch import Watch

T = TypeVar("T")

# Plain puts and gets are worth some care: the library answers a get in about a microsecond.
_get = lib.python_get
_put = lib.python_put
_free = lib.python_reply_free
_unpack = ffi.unpack
_tuple = tuple.__new__
_NOT_FOUND = lib.COFFER_NOT_FOUND
_spare: List[Any] = []
"""Replies for the next calls."""


def _take_reply() -> Any:
    try:
        return _spare.pop()
    except IndexError:
        return ffi.new("python_reply *", {"result": {"size": ffi.sizeof("coffer_result")}})



def open_handle(uri: PathText, options: "dict[str, OptionValue]") -> Handle:
    """Opens a store. The handle is the caller's."""
    given = _encode.options(options)
    made = ffi.new("coffer_store *")
    call(lib.coffer_open, lib.COFFER_ABI_VERSION, _encode.text(uri), given, len(given), made)
    return (made.id,)


def close_handle(handle: Handle) -> None:
    """Closes a store. That it was closed meanwhile is as good."""
    try:
        call(lib.coffer_close, handle)
    except errors.ClosedError:
        pass


def open(uri: str, **options: OptionValue) -> "Store":
    """Opens a store.

    ======================  ====================================================================
    `file:///dir`           in that directory, in this process; made if there is none
    `mem:`                  new, in memory of this process; gone when it is closed
    `unix:///path`          behind the socket of a daemon
    `coffer://host:port,…`  behind one or more members of a cluster
    ======================  ====================================================================

    Options are those of the library, with `_` for `-`. A new store in a directory wants to be told what seals it, such as
    `seal_key_file="/etc/app/key"`, or that nothing does: `unsealed=True`.
    """
    return Store(open_handle(uri, options))


class Store:
    """An open store. Made by `coffer.open`; to be closed, best by `with`.

    All methods may be called by any number of threads at once, and let other threads run while they wait. `timeout` is in
    seconds: None for the store's `command_timeout`, `math.inf` for no limit. Keys and values are bytes, or text, which
    is taken as UTF-8; they come back as bytes.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._core = BlockingCore(handle)

    def close(self) -> None:
        """Closes it. A second time does nothing. Calls that are under way fail; what was acknowledged is on the disk."""
        handle, self._handle = self._handle, NO_HANDLE
        self._core.handle = NO_HANDLE
        if handle is not NO_HANDLE:
            close_handle(handle)

    @property
    def closed(self) -> bool:
        """It is closed."""
        return self._handle is NO_HANDLE

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", NO_HANDLE) is not NO_HANDLE:
            try:
                self.close()
            except errors.Error:
                return  # in a forked process it is not ours to close
            warnings.warn("a store was not closed", ResourceWarning, source=self)

    # ---- keys

    def put(
        self,
        key: Data,
        value: Data,
        *,
        lease: int = 0,
        previous: bool = False,
        keep_value: bool = False,
        keep_lease: bool = False,
        timeout: Optional[float] = None,
    ) -> PutResult:
        """Writes a key. Durable on a quorum when it returns. With `previous` it tells the pair before."""
        if lease or previous or keep_value or keep_lease or timeout is not None:
            put = Put(key, value, lease, previous, keep_value, keep_lease)
            return run(_requests.put(self._handle, put), timeout)
        name, data = to_bytes(key), to_bytes(value)
        reply = _take_reply()
        try:
            status = _put(self._handle[0], name, len(name), data, len(data), reply)
            if status:
                raise errors.failure(status, ffi.addressof(reply, "error"))
            return PutResult(reply.result.revision, None)
        finally:
            _free(reply)
            _spare.append(reply)

    def get(
        self,
        key: Data,
        *,
        revision: int = 0,
        serializable: bool = False,
        keys_only: bool = False,
        timeout: Optional[float] = None,
    ) -> Optional[KeyValue]:
        """Reads one key, as of `revision` or the newest. None if it does not exist.

        Sees every write that was acknowledged before, unless `serializable` lets one member answer from what it has.
        """
        if revision or serializable or keys_only or timeout is not None:
            options = Get(b"", revision=revision, serializable=serializable, keys_only=keys_only)
            return run(_requests.get(self._handle, key, options), timeout)
        name = key if type(key) is bytes else to_bytes(key)
        reply = _take_reply()
        try:
            status = _get(self._handle[0], name, len(name), reply)
            if status:
                if status == _NOT_FOUND:
                    return None
                raise errors.failure(status, ffi.addressof(reply, "error"))
            length = reply.value_len
            value = _unpack(reply.value, length) if length else b""
            revisions = reply.create_revision, reply.mod_revision, reply.version, reply.lease
            return _tuple(KeyValue, (name, value, *revisions))  # as KeyValue(…), in half the time
        finally:
            _free(reply)
            _spare.append(reply)

    def range(
        self,
        range: RangeLike,
        *,
        revision: int = 0,
        limit: int = 0,
        keys_only: bool = False,
        serializable: bool = False,
        timeout: Optional[float] = None,
    ) -> RangeIterator:
        """Iterates over a range in ascending order of keys, all of it as of one revision, in bounded memory.

        `timeout` is that of each page.
        """
        get = Get(range, revision=revision, limit=limit, keys_only=keys_only, serializable=serializable)
        return RangeIterator(self._handle, range, get, timeout)

    def read(
        self,
        range: RangeLike,
        *,
        revision: int = 0,
        limit: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
        serializable: bool = False,
        sort: Sort = Sort.KEY,
        descending: bool = False,
        min_mod_revision: int = 0,
        max_mod_revision: int = 0,
        min_create_revision: int = 0,
        max_create_revision: int = 0,
        timeout: Optional[float] = None,
    ) -> RangeResult:
        """Reads a range in one answer, in any order. For large ranges see `range`."""
        get = Get(
            range,
            revision=revision,
            limit=limit,
            keys_only=keys_only,
            count_only=count_only,
            serializable=serializable,
            sort=sort,
            descending=descending,
            min_mod_revision=min_mod_revision,
            max_mod_revision=max_mod_revision,
            min_create_revision=min_create_revision,
            max_create_revision=max_create_revision,
        )
        return run(_requests.read(self._handle, get), timeout)

    def count(self, range: RangeLike, *, revision: int = 0, timeout: Optional[float] = None) -> int:
        """How many keys a range has."""
        return self.read(range, revision=revision, count_only=True, timeout=timeout).total

    def delete(self, range: RangeLike, *, previous: bool = False, timeout: Optional[float] = None) -> DeleteResult:
        """Deletes a key, or a range of keys in one revision. With `previous` it tells the pairs before."""
        return run(_requests.delete(self._handle, Delete(range, previous)), timeout)

    # ---- transactions

    def txn(self) -> "StoreTxn":
        """Begins a transaction: `store.txn().when(…).then(…).otherwise(…).commit()`."""
        return StoreTxn(self)

    def commit(self, txn: Txn, *, timeout: Optional[float] = None) -> TxnResult:
        """Runs a transaction. All of its changes are one revision; that its conditions did not hold is no failure."""
        return run(_requests.commit(self._handle, txn), timeout)

    def update(self, attempt: "Callable[[Draft], T]", *, timeout: Optional[float] = None) -> T:
        """Has `attempt` read and write, and again as long as others write what it read in between.

        What it reads is of one revision, what it writes happens at once and only if nothing that it read has changed.
        It may run many times, so it should do nothing else. Answers what the last attempt returned. Only conflicts are
        tried again: failures are raised, and those that are `maybe_committed` are to be looked into.
        """

        async def run_attempt(draft: CoreDraft) -> T:
            return attempt(Draft(draft))

        return drive(update(self._core, run_attempt, timeout))

    # ---- watches

    def watch(
        self,
        range: RangeLike,
        *,
        start_revision: int = 0,
        previous: bool = False,
        progress: bool = False,
        puts: bool = True,
        deletes: bool = True,
        timeout: Optional[float] = None,
    ) -> Watch:
        """Begins to watch a range: from the changes of `start_revision` on, or those after the return.

        `previous` delivers the pair before each change, `progress` tells now and then, while nothing happens, up to
        which revision everything was delivered. `timeout` is for the beginning alone.
        """
        return Watch(self._handle, range, start_revision, previous, progress, puts, deletes, timeout)

    # ---- leases, and what is made of them

    def lease_grant(self, ttl_s: int, *, lease: int = 0, timeout: Optional[float] = None) -> Lease:
        """Creates a lease that lives for `ttl_s` seconds, with the id `lease` or one that the store chooses."""
        return run(_requests.lease_grant(self._handle, ttl_s, lease), timeout)

    def lease_revoke(self, lease: int, *, timeout: Optional[float] = None) -> int:
        """Ends a lease and deletes its keys, in one revision. Answers the store's revision."""
        return run(_requests.lease_revoke(self._handle, lease), timeout)

    def lease_renew(self, lease: int, *, timeout: Optional[float] = None) -> Lease:
        """Renews a lease once."""
        return run(_requests.lease_renew(self._handle, lease), timeout)

    def lease_info(self, lease: int, *, keys: bool = False, timeout: Optional[float] = None) -> LeaseInfo:
        """Tells what is left of a lease, and its keys. Of an unknown lease `ttl_s` is -1."""
        return run(_requests.lease_info(self._handle, lease, keys), timeout)

    def leases(self, *, timeout: Optional[float] = None) -> List[int]:
        """Lists all leases."""
        return run(_requests.leases(self._handle), timeout)

    def keep_alive(self, lease: int) -> Keeper:
        """Keeps a lease alive in the background until the keeper, or the store, is closed."""
        return Keeper(self._handle, lease)

    def session(self, ttl_s: int = 60, *, lease: int = 0) -> Session:
        """Begins a session: a lease that is kept alive, for locks and elections. With `lease` it takes over that one."""
        return Session._begin(self, ttl_s, lease)

    # ---- the whole store

    def compact(self, revision: int, *, physical: bool = False, timeout: Optional[float] = None) -> None:
        """Makes revisions below `revision` unreadable. With `physical` it returns once the space was reclaimed."""
        run(_requests.compact(self._handle, revision, physical), timeout)

    def status(self, *, timeout: Optional[float] = None) -> StoreInfo:
        """Tells how the member that answers sees its store."""
        return run(_requests.status(self._handle), timeout)

    def hash_kv(self, revision: int = 0, *, timeout: Optional[float] = None) -> HashKv:
        """Tells a hash over the content up to `revision`, or the newest."""
        return run(_requests.hash_kv(self._handle, revision), timeout)

    def members(self, *, linearizable: bool = True, timeout: Optional[float] = None) -> List[Member]:
        """Lists who belongs to the cluster."""
        return run(_requests.members(self._handle, linearizable), timeout)

    def snapshot_save(self, path: PathText, *, timeout: Optional[float] = None) -> SnapshotInfo:
        """Saves all of the store to a new file, sealed as the store is."""
        return run(_requests.snapshot_save(self._handle, path), timeout)

    # ---- keys that open it

    def key_status(self) -> Keys:
        """Tells which keys open the store, and which ones its data is sealed with."""
        return run(_requests.key_status(self._handle))

    def key_add(self, label: Optional[str] = None, **seal: OptionValue) -> Keys:
        """Adds a key that opens the store: one seal option, such as `seal_key_file`. `changed_id` is its slot."""
        return run(_requests.key_add(self._handle, label, seal))

    def key_remove(self, slot: int) -> Keys:
        """Takes away the key of a slot: it opens the store no longer. The last one stays."""
        return run(_requests.key_remove(self._handle, slot))

    def key_rotate_kek(self, slot: int = 0, **seal: OptionValue) -> Keys:
        """Replaces the key of a slot; slot 0 is the one that opened the store."""
        return run(_requests.key_rotate_kek(self._handle, slot, seal))

    def key_rotate_data(self, *, rewrite: bool = False) -> Keys:
        """Makes a new data key for everything that is written from now on; `rewrite` carries the older data over."""
        return run(_requests.key_rotate_data(self._handle, rewrite))


class StoreTxn(Txn):
    """A transaction of one store. Made by `Store.txn`."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def commit(self, *, timeout: Optional[float] = None) -> TxnResult:
        """Runs it."""
        return self._store.commit(self, timeout=timeout)


class Draft:
    """What one attempt of `Store.update` reads and writes."""

    def __init__(self, draft: CoreDraft) -> None:
        self._draft = draft
        self.put = draft.put
        self.delete = draft.delete

    def get(self, key: Data) -> Optional[bytes]:
        """The value of a key, what this attempt wrote included; None if there is no such key."""
        return drive(self._draft.get(key))
