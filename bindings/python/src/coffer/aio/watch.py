"""Watching a range."""

import asyncio
from types import TracebackType
from typing import Any, AsyncIterator, Optional, Type

from coffer import _decode, _encode, errors
from coffer._call import call
from coffer._encode import Handle
from coffer._handle import Owned
from coffer._native import ffi, lib
from coffer.aio._calls import Queue, failure_of
from coffer.data import Update
from coffer.ranges import RangeLike, to_range


class Watch(AsyncIterator[Update]):
    """What happens to a range, as `Update`s in the order of revisions. Made by `Store.watch`.

    Iterating waits for the next update, and ends once the watch is closed. It raises `CompactedError` if the watch fell
    behind a compaction, and `StoppedError` once the store is closed; whatever it raises, the watch is over. To go on where it
    was begin another one with `start_revision=watch.resume_revision`.

    Each watch has a queue, and takes from it only what it is asked for: who does not read costs no memory. One task waits
    at a time.
    """

    def __init__(
        self,
        store: Handle,
        range: RangeLike,
        start_revision: int,
        previous: bool,
        progress: bool,
        puts: bool,
        deletes: bool,
        timeout: Optional[float],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue = Queue()
        self._waiting: "Optional[asyncio.Future[None]]" = None
        self._begun = False
        made = ffi.new("coffer_watch *")
        options = _encode.watch_options(start_revision, previous, progress, puts, deletes)
        keys = _encode.key_range(to_range(range))
        call(lib.coffer_watch_open, store, keys, options, _encode.call(timeout, self._queue.handle), made)
        self._watch = Owned("watch", made)
        self.resume_revision = start_revision
        """The `start_revision` with which another watch goes on behind the last update that this one handed out."""

    @classmethod
    async def _open(
        cls,
        store: Handle,
        range: RangeLike,
        start_revision: int = 0,
        previous: bool = False,
        progress: bool = False,
        puts: bool = True,
        deletes: bool = True,
        timeout: Optional[float] = None,
    ) -> "Watch":
        """A watch that has begun."""
        watch = cls(store, range, start_revision, previous, progress, puts, deletes, timeout)
        try:
            while not watch._begun and not watch.closed:
                watch._queue.take(watch._look)
                if not watch._begun:
                    await watch._readable(None)
            return watch
        except BaseException:
            watch.close()
            raise

    async def next(self, timeout: Optional[float] = None) -> Optional[Update]:
        """Waits for the next update, up to `timeout` seconds. None if none came, or the watch is closed."""
        until = None if timeout is None else self._loop.time() + timeout
        while not self.closed:
            update = self._queue.take(self._look)
            if update is not None or self.closed:
                return update
            if until is not None and self._loop.time() >= until:
                return None
            await self._readable(until)
        return None

    def _look(self, completion: Any) -> Optional[Update]:
        """What a completion brings. With the last one the watch is over."""
        if completion.last:
            why = failure_of(completion)
            self.close()
            if why is not None:
                raise why
            return None
        update = _decode.update(completion.result)
        if not update.fragment:
            self.resume_revision = max(self.resume_revision, update.revision + 1)
        if completion.result.flags & lib.COFFER_RESULT_STARTED:
            self._begun = True
            return None
        return update

    async def _readable(self, until: Optional[float]) -> None:
        """Waits until a completion is there, or the time has come, or the watch is closed."""
        if self._waiting is not None:
            raise errors.make(lib.COFFER_BUSY, "another task waits in this watch")
        future = self._waiting = self._loop.create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        timer = None if until is None else self._loop.call_at(until, wake)
        self._loop.add_reader(self._queue.descriptor, wake)
        try:
            await future
        finally:
            if timer is not None:
                timer.cancel()
            if self._waiting is not None:
                self._stop_waiting()

    def _stop_waiting(self) -> None:
        """Must come before the queue is closed."""
        self._waiting = None
        self._loop.remove_reader(self._queue.descriptor)

    def request_progress(self) -> None:
        """Asks for an update, perhaps without events, as soon as everything that has happened was delivered."""
        call(lib.coffer_watch_request_progress, self._watch.value)

    @property
    def closed(self) -> bool:
        """It is over."""
        return self._watch.closed

    def close(self) -> None:
        """Ends it. The task that waits in it returns."""
        self._watch.close()
        if self._waiting is not None:
            waiting = self._waiting
            self._stop_waiting()
            if not waiting.done():
                waiting.set_result(None)
        self._queue.close()

    def __aiter__(self) -> "Watch":
        return self

    async def __anext__(self) -> Update:
        update = await self.next()
        if update is None:
            raise StopAsyncIteration
        return update

    async def __aenter__(self) -> "Watch":
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()
