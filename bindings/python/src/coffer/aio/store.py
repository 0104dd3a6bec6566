"""The store, for asyncio."""

import warnings
from types import TracebackType
from typing import Awaitable, Callable, List, Optional, Type, TypeVar

from coffer import _requests, errors
from coffer._core import Draft, update
from coffer._encode import NO_HANDLE, OptionValue
from coffer._requests import PathText
from coffer.aio._calls import Calls, in_thread
from coffer.aio.coordination import Session
from coffer.aio.lease import Keeper
from coffer.aio.pages import RangeIterator
from coffer.aio.watch import Watch
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
from coffer.ranges import Data, RangeLike
from coffer.store import close_handle, open_handle
from coffer.txn import Delete, Get, Put, Sort, Txn

T = TypeVar("T")


async def open(uri: str, **options: OptionValue) -> "Store":
    """Opens a store, as `coffer.open` does."""
    handle = await in_thread(lambda: open_handle(uri, options), undo=close_handle)
    try:
        return Store(Calls(handle))
    except BaseException:
        await in_thread(lambda: close_handle(handle))
        raise


class Store:
    """An open store. Made by `coffer.aio.open`; to be closed, best by `async with`.

    It belongs to the event loop that it was opened in, as all that it makes. `timeout` is in seconds: None for the store's
    `command_timeout`, `math.inf` for no limit. If a task is cancelled, the call that it waits for is too; a change may
    have happened nevertheless. Keys and values are bytes, or text, which is taken as UTF-8; they come back as bytes.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def close(self) -> None:
        """Closes it. A second time does nothing. Calls that are under way fail; what was acknowledged is on the disk."""
        await self._calls.close(close_handle)

    @property
    def closed(self) -> bool:
        """It is closed."""
        return self._calls.handle is NO_HANDLE

    async def __aenter__(self) -> "Store":
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        calls: Optional[Calls] = getattr(self, "_calls", None)
        if calls is not None and calls.handle is not NO_HANDLE:
            try:
                calls.abandon(close_handle)
            except errors.Error:
                return  # in a forked process it is not ours to close
            warnings.warn("a store was not closed", ResourceWarning, source=self)

    # ---- keys

    async def put(
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
        put = Put(key, value, lease, previous, keep_value, keep_lease)
        return await self._calls.run(_requests.put(self._calls.handle, put), timeout)

    async def get(
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
        options = Get(b"", revision=revision, serializable=serializable, keys_only=keys_only)
        return await self._calls.run(_requests.get(self._calls.handle, key, options), timeout)

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
        return RangeIterator(self._calls, range, get, timeout)

    async def read(
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
        return await self._calls.run(_requests.read(self._calls.handle, get), timeout)

    async def count(self, range: RangeLike, *, revision: int = 0, timeout: Optional[float] = None) -> int:
        """How many keys a range has."""
        return (await self.read(range, revision=revision, count_only=True, timeout=timeout)).total

    async def delete(self, range: RangeLike, *, previous: bool = False, timeout: Optional[float] = None) -> DeleteResult:
        """Deletes a key, or a range of keys in one revision. With `previous` it tells the pairs before."""
        return await self._calls.run(_requests.delete(self._calls.handle, Delete(range, previous)), timeout)

    # ---- transactions

    def txn(self) -> "StoreTxn":
        """Begins a transaction: `await store.txn().when(…).then(…).otherwise(…).commit()`."""
        return StoreTxn(self)

    async def commit(self, txn: Txn, *, timeout: Optional[float] = None) -> TxnResult:
        """Runs a transaction. All of its changes are one revision; that its conditions did not hold is no failure."""
        return await self._calls.run(_requests.commit(self._calls.handle, txn), timeout)

    async def update(self, attempt: Callable[[Draft], Awaitable[T]], *, timeout: Optional[float] = None) -> T:
        """Has `attempt` read and write, and again as long as others write what it read in between.

        What it reads is of one revision, what it writes happens at once and only if nothing that it read has changed.
        It may run many times, so it should do nothing else. Answers what the last attempt returned. Only conflicts are
        tried again: failures are raised, and those that are `maybe_committed` are to be looked into.
        """
        return await update(self._calls, attempt, timeout)

    # ---- watches

    async def watch(
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
        return await Watch._open(self._calls.handle, range, start_revision, previous, progress, puts, deletes, timeout)

    # ---- leases, and what is made of them

    async def lease_grant(self, ttl_s: int, *, lease: int = 0, timeout: Optional[float] = None) -> Lease:
        """Creates a lease that lives for `ttl_s` seconds, with the id `lease` or one that the store chooses."""
        return await self._calls.run(_requests.lease_grant(self._calls.handle, ttl_s, lease), timeout)

    async def lease_revoke(self, lease: int, *, timeout: Optional[float] = None) -> int:
        """Ends a lease and deletes its keys, in one revision. Answers the store's revision."""
        return await self._calls.run(_requests.lease_revoke(self._calls.handle, lease), timeout)

    async def lease_renew(self, lease: int, *, timeout: Optional[float] = None) -> Lease:
        """Renews a lease once."""
        return await self._calls.run(_requests.lease_renew(self._calls.handle, lease), timeout)

    async def lease_info(self, lease: int, *, keys: bool = False, timeout: Optional[float] = None) -> LeaseInfo:
        """Tells what is left of a lease, and its keys. Of an unknown lease `ttl_s` is -1."""
        return await self._calls.run(_requests.lease_info(self._calls.handle, lease, keys), timeout)

    async def leases(self, *, timeout: Optional[float] = None) -> List[int]:
        """Lists all leases."""
        return await self._calls.run(_requests.leases(self._calls.handle), timeout)

    def keep_alive(self, lease: int) -> Keeper:
        """Keeps a lease alive in the background until the keeper, or the store, is closed."""
        return Keeper(self._calls, lease)

    async def session(self, ttl_s: int = 60, *, lease: int = 0) -> Session:
        """Begins a session: a lease that is kept alive, for locks and elections. With `lease` it takes over that one."""
        return await Session._begin(self, ttl_s, lease)

    # ---- the whole store

    async def compact(self, revision: int, *, physical: bool = False, timeout: Optional[float] = None) -> None:
        """Makes revisions below `revision` unreadable. With `physical` it returns once the space was reclaimed."""
        await self._calls.run(_requests.compact(self._calls.handle, revision, physical), timeout)

    async def status(self, *, timeout: Optional[float] = None) -> StoreInfo:
        """Tells how the member that answers sees its store."""
        return await self._calls.run(_requests.status(self._calls.handle), timeout)

    async def hash_kv(self, revision: int = 0, *, timeout: Optional[float] = None) -> HashKv:
        """Tells a hash over the content up to `revision`, or the newest."""
        return await self._calls.run(_requests.hash_kv(self._calls.handle, revision), timeout)

    async def members(self, *, linearizable: bool = True, timeout: Optional[float] = None) -> List[Member]:
        """Lists who belongs to the cluster."""
        return await self._calls.run(_requests.members(self._calls.handle, linearizable), timeout)

    async def snapshot_save(self, path: PathText, *, timeout: Optional[float] = None) -> SnapshotInfo:
        """Saves all of the store to a new file, sealed as the store is."""
        return await self._calls.run(_requests.snapshot_save(self._calls.handle, path), timeout)

    # ---- keys that open it

    async def key_status(self) -> Keys:
        """Tells which keys open the store, and which ones its data is sealed with."""
        return await self._calls.run(_requests.key_status(self._calls.handle))

    async def key_add(self, label: Optional[str] = None, **seal: OptionValue) -> Keys:
        """Adds a key that opens the store: one seal option, such as `seal_key_file`. `changed_id` is its slot."""
        return await self._calls.run(_requests.key_add(self._calls.handle, label, seal))

    async def key_remove(self, slot: int) -> Keys:
        """Takes away the key of a slot: it opens the store no longer. The last one stays."""
        return await self._calls.run(_requests.key_remove(self._calls.handle, slot))

    async def key_rotate_kek(self, slot: int = 0, **seal: OptionValue) -> Keys:
        """Replaces the key of a slot; slot 0 is the one that opened the store."""
        return await self._calls.run(_requests.key_rotate_kek(self._calls.handle, slot, seal))

    async def key_rotate_data(self, *, rewrite: bool = False) -> Keys:
        """Makes a new data key for everything that is written from now on; `rewrite` carries the older data over."""
        return await self._calls.run(_requests.key_rotate_data(self._calls.handle, rewrite))


class StoreTxn(Txn):
    """A transaction of one store. Made by `Store.txn`."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    async def commit(self, *, timeout: Optional[float] = None) -> TxnResult:
        """Runs it."""
        return await self._store.commit(self, timeout=timeout)
