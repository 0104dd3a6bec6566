"""What is made of several calls, written once for both surfaces.

The functions here are coroutines over a `Core`. That of `coffer.aio` waits in them; `BlockingCore` waits inside its calls,
so that a coroutine over it never suspends, and `drive` runs it to its end like a function.
"""

import random
import time
from dataclasses import dataclass
from typing import AsyncGenerator, Awaitable, Callable, Coroutine, Dict, Optional, Protocol, Tuple, TypeVar

from coffer import _requests, errors
from coffer._call import Request, run
from coffer._encode import Handle
from coffer._native import lib
from coffer.data import EventKind, KeyValue, Update
from coffer.ranges import Data, RangeLike, key, prefix, to_bytes
from coffer.txn import Compare, Delete, Get, Put, Sort, Txn
from coffer.watch import Watch

T = TypeVar("T")

LOOK_S = 0.5
"""How often a wait looks whether the lease that it waits with is still alive."""
PAUSE_MAX_S = 0.1
"""How long the pause after a conflict grows."""


class Watcher(Protocol):
    """A watch."""

    async def next(self, timeout: Optional[float] = None) -> Optional[Update]:
        """Waits for the next update."""

    def close(self) -> None:
        """Ends it."""


class Core(Protocol):
    """A store, for coroutines."""

    @property
    def handle(self) -> Handle:
        """The store."""

    async def run(self, request: Request[T], timeout: Optional[float] = None) -> T:
        """Makes a call."""

    async def watch(self, range: RangeLike, start_revision: int) -> Watcher:
        """Begins to watch."""

    async def pause(self, seconds: float) -> None:
        """Waits."""


class BlockingWatcher:
    """A watch whose coroutines never suspend."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.close = watch.close

    async def next(self, timeout: Optional[float] = None) -> Optional[Update]:
        """Waits for the next update."""
        return self._watch.next(timeout)


class BlockingCore:
    """A store whose coroutines never suspend."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle

    async def run(self, request: Request[T], timeout: Optional[float] = None) -> T:
        """Makes a call."""
        return run(request, timeout)

    async def watch(self, range: RangeLike, start_revision: int) -> BlockingWatcher:
        """Begins to watch."""
        return BlockingWatcher(Watch(self.handle, range, start_revision))

    async def pause(self, seconds: float) -> None:
        """Waits."""
        time.sleep(seconds)


def drive(coroutine: Coroutine[object, None, T]) -> T:
    """Runs a coroutine over a `BlockingCore`."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("a coroutine over a blocking core was suspended")


class Deadline:
    """A time until which several calls may take."""

    def __init__(self, timeout: Optional[float]) -> None:
        self._until = None if timeout is None else time.monotonic() + timeout

    def left(self) -> Optional[float]:
        """What is left, in seconds; None for no end. Raises once there is nothing left."""
        if self._until is None:
            return None
        left = self._until - time.monotonic()
        if left <= 0:
            raise errors.make(lib.COFFER_TIMEOUT, "the time is up")
        return left

    def within(self, seconds: float) -> float:
        """So many seconds, or what is left."""
        left = self.left()
        return seconds if left is None else min(seconds, left)


# ---- optimistic transactions


class Draft:
    """What one attempt of an update read, all at one revision, and wants to write."""

    def __init__(self, core: Core, deadline: Deadline) -> None:
        self._core = core
        self._deadline = deadline
        self._revision = 0
        self._reads: Dict[bytes, Tuple[int, Optional[bytes]]] = {}
        self._writes: Dict[bytes, Optional[Put]] = {}

    async def get(self, key: Data) -> Optional[bytes]:
        """The value of a key, what this attempt wrote included; None if there is no such key."""
        name = to_bytes(key)
        if name in self._writes:
            put = self._writes[name]
            return None if put is None else to_bytes(put.value)
        if name not in self._reads:
            get = Get(name, revision=self._revision)
            answer = await self._core.run(_requests.read(self._core.handle, get), self._deadline.left())
            self._revision = self._revision or answer.revision
            kv = answer.kvs[0] if answer.kvs else None
            self._reads[name] = (kv.mod_revision, kv.value) if kv else (0, None)
        return self._reads[name][1]

    def put(self, key: Data, value: Data, lease: int = 0) -> None:
        """Writes a key, once the update succeeds."""
        name = to_bytes(key)
        self._writes[name] = Put(name, to_bytes(value), lease)

    def delete(self, key: Data) -> None:
        """Deletes a key, once the update succeeds."""
        self._writes[to_bytes(key)] = None

    async def commit(self) -> bool:
        """Writes all if nothing that was read has changed since."""
        if not self._writes:
            return True
        txn = Txn().when(*(Compare.modified(name).equals(read[0]) for name, read in self._reads.items()))
        txn.then(*(Delete(name) if put is None else put for name, put in self._writes.items()))
        answer = await self._core.run(_requests.commit(self._core.handle, txn), self._deadline.left())
        return answer.succeeded


async def update(core: Core, attempt: Callable[[Draft], Awaitable[T]], timeout: Optional[float]) -> T:
    """Has `attempt` read and write until nothing comes between."""
    deadline = Deadline(timeout)
    pause = 0.001
    while True:
        draft = Draft(core, deadline)
        try:
            value = await attempt(draft)
            if await draft.commit():
                return value
        except errors.CompactedError:
            pass  # what the attempt began to read is gone: the next one reads what is new
        await core.pause(deadline.within(random.uniform(0, pause)))
        pause = min(PAUSE_MAX_S, pause * 2)


# ---- lines: locks and elections
#
# The keys are those of etcd's concurrency package, so that programs of either kind wait in one line: under NAME/ a key
# for each who waits, its lease in hexadecimal, and the oldest of them has its turn.


@dataclass(frozen=True)
class Place:
    """A place in a line."""

    key: bytes
    lease: int
    fence: int
    """The revision that made the place. Who has a turn later has a greater one: a fencing token."""

    def held(self) -> Compare:
        """The place is still there."""
        return Compare.created(self.key).equals(self.fence)


@dataclass(frozen=True)
class Line:
    """Who waits for one turn."""

    core: Core
    name: bytes
    """With the slash at its end."""

    @staticmethod
    def of(core: Core, name: Data) -> "Line":
        """The line of this name."""
        return Line(core, to_bytes(name) + b"/")

    def key(self, lease: int) -> bytes:
        """The key of who waits with this lease."""
        return self.name + b"%x" % lease

    async def first(self, timeout: Optional[float] = None) -> Tuple[int, Optional[KeyValue]]:
        """The revision, and who has the turn."""
        answer = await self.core.run(_requests.read(self.core.handle, self._oldest()), timeout)
        return answer.revision, answer.kvs[0] if answer.kvs else None

    def _oldest(self) -> Get:
        return Get(prefix(self.name), limit=1, sort=Sort.CREATE_REVISION)

    async def enter(self, lease: int, value: bytes, deadline: Deadline) -> Tuple[Place, bool]:
        """Takes a place, or finds the one that the lease has; and whether it is its turn."""
        mine = self.key(lease)
        txn = Txn().when(Compare.missing(mine))
        txn.then(Put(mine, value, lease), self._oldest()).otherwise(Get(mine), self._oldest())
        answer = await self.core.run(_requests.commit(self.core.handle, txn), deadline.left())
        own, oldest = answer.results
        fence = answer.revision if answer.succeeded else own.kvs[0].create_revision  # type: ignore[union-attr]
        place = Place(mine, lease, fence)
        if not answer.succeeded and own.kvs[0].value != value:  # type: ignore[union-attr]
            await self.announce(place, value, deadline)
        return place, oldest.kvs[0].create_revision == fence  # type: ignore[union-attr]

    async def take_turn(
        self, lease: int, value: bytes, lost: Callable[[], Optional[errors.Error]], timeout: Optional[float]
    ) -> Place:
        """Waits for the turn. Whatever goes wrong, the place is given up."""
        deadline = Deadline(timeout)
        try:
            place, turn = await self.enter(lease, value, deadline)
            if not turn:
                await self._wait(place, lost, deadline)
            return place
        except BaseException:
            await self._give_up(lease)
            raise

    async def try_turn(self, lease: int, timeout: Optional[float]) -> Optional[Place]:
        """Has the turn at once, or does not wait."""
        try:
            place, turn = await self.enter(lease, b"", Deadline(timeout))
        except BaseException:
            await self._give_up(lease)
            raise
        if turn:
            return place
        await self.leave(place)
        return None

    async def _wait(self, place: Place, lost: Callable[[], Optional[errors.Error]], deadline: Deadline) -> None:
        """Waits until nobody is before `place`."""
        before = Get(
            prefix(self.name),
            limit=1,
            sort=Sort.CREATE_REVISION,
            descending=True,
            keys_only=True,
            max_create_revision=place.fence - 1,
        )
        while True:
            answer = await self.core.run(_requests.read(self.core.handle, before), deadline.left())
            if not answer.kvs:
                break
            await self._wait_deleted(answer.kvs[0].key, answer.revision + 1, lost, deadline)
        own = await self.core.run(_requests.read(self.core.handle, Get(place.key)), deadline.left())
        if not own.kvs or own.kvs[0].create_revision != place.fence:
            raise errors.make(lib.COFFER_LEASE_NOT_FOUND, "the lease ended while it waited in line")

    async def _wait_deleted(
        self, name: bytes, revision: int, lost: Callable[[], Optional[errors.Error]], deadline: Deadline
    ) -> None:
        watch = await self.core.watch(key(name), revision)
        try:
            while True:
                update = await watch.next(deadline.within(LOOK_S))
                if update and any(event.kind is EventKind.DELETE for event in update.events):
                    return
                why = lost()
                if why is not None:
                    raise why
        except errors.CompactedError:
            return  # it is looked for again
        finally:
            watch.close()

    async def _give_up(self, lease: int) -> None:
        """Leaves whatever place the lease has, as far as that can be done; the lease does the rest."""
        mine = self.key(lease)
        txn = Txn().when(Compare.lease(mine).equals(lease)).then(Delete(mine))
        try:
            await self.core.run(_requests.commit(self.core.handle, txn))
        except errors.Error:
            pass

    async def leave(self, place: Place, timeout: Optional[float] = None) -> bool:
        """Leaves a place; whether it was still there."""
        txn = Txn().when(place.held()).then(Delete(place.key))
        return (await self.core.run(_requests.commit(self.core.handle, txn), timeout)).succeeded

    async def announce(self, place: Place, value: bytes, deadline: Deadline) -> None:
        """Changes what a place says."""
        txn = Txn().when(place.held()).then(Put(place.key, value, place.lease))
        answer = await self.core.run(_requests.commit(self.core.handle, txn), deadline.left())
        if not answer.succeeded:
            raise errors.make(lib.COFFER_LEASE_NOT_FOUND, "the place in line was lost")

    async def observe(self) -> AsyncGenerator[KeyValue, None]:
        """Who has the turn, each time that it or what it says changes."""
        while True:
            revision, leader = await self.first()
            if leader is None:
                await self._next_put(prefix(self.name), revision + 1)
                continue  # several may have come at once: the oldest has the turn
            yield leader
            watch = await self.core.watch(key(leader.key), revision + 1)
            try:
                async for change in self._changes(watch):
                    yield change
            except errors.CompactedError:
                pass
            finally:
                watch.close()

    async def _changes(self, watch: Watcher) -> AsyncGenerator[KeyValue, None]:
        """What a watched key becomes, until it is deleted."""
        while True:
            update = await watch.next()
            for event in update.events if update else ():
                if event.kind is EventKind.DELETE:
                    return
                yield event.kv

    async def _next_put(self, range: RangeLike, revision: int) -> None:
        watch = await self.core.watch(range, revision)
        try:
            while True:
                update = await watch.next()
                if update and any(event.kind is EventKind.PUT for event in update.events):
                    return
        except errors.CompactedError:
            return
        finally:
            watch.close()
