"""Calls that complete at a queue, and the event loop that waits for them."""

import asyncio
import itertools
import threading
from typing import Any, Callable, Dict, Optional, TypeVar

from coffer import _encode, errors
from coffer._call import Request, call, run
from coffer._encode import NO_HANDLE, Handle
from coffer._handle import Owned
from coffer._native import ffi, lib
from coffer.ranges import RangeLike

T = TypeVar("T")


class Queue:
    """A completion queue and its descriptor."""

    def __init__(self) -> None:
        made = ffi.new("coffer_queue *")
        call(lib.coffer_queue_new, made)
        self._queue = Owned("queue", made)
        descriptor = ffi.new("int32_t *")
        call(lib.coffer_queue_fd, self.handle, descriptor)
        self.descriptor: int = descriptor[0]
        """Readable while a completion waits. Not to be used once the queue is closed: its number may have another life."""

    @property
    def handle(self) -> Handle:
        """The queue."""
        return self._queue.value

    def take(self, use: Callable[[Any], T]) -> Optional[T]:
        """Takes a completion if one waits, and frees it once it was used."""
        completion = ffi.new("coffer_completion *", {"size": ffi.sizeof("coffer_completion")})
        if call(lib.coffer_queue_next, self.handle, 0, completion) != lib.COFFER_OK:
            return None
        try:
            return use(completion)
        finally:
            lib.coffer_error_free(ffi.addressof(completion, "error"))
            lib.coffer_result_free(ffi.addressof(completion, "result"))

    def close(self) -> None:
        """Closes it, once nobody waits for its descriptor."""
        self._queue.close()


def failure_of(completion: Any) -> Optional[errors.Error]:
    """Why what completed failed; None if it did not."""
    if completion.status < errors.FIRST_FAILURE:
        return None
    return errors.failure(completion.status, ffi.addressof(completion, "error"))


class Calls:
    """The calls of one store on one event loop: a `coffer._core.Core`."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self._loop = asyncio.get_running_loop()
        self._queue = Queue()
        self._tags = itertools.count(1)
        self._waiting: Dict[int, Callable[[Any], None]] = {}
        self._loop.add_reader(self._queue.descriptor, self._complete)

    async def run(self, request: Request[T], timeout: Optional[float] = None) -> T:
        """Makes a call. If the task is cancelled the call is, but what it changes may have happened."""
        if self.handle is NO_HANDLE:
            raise errors.make(lib.COFFER_BAD_HANDLE, "the store is closed")
        if request.always_waits:
            return await in_thread(lambda: run(request, timeout))
        future: "asyncio.Future[T]" = self._loop.create_future()

        def complete(completion: Any) -> None:
            if future.done():
                return
            why = failure_of(completion)
            if why is not None:
                future.set_exception(why)
                return
            try:
                future.set_result(request.decode(completion.status, completion.result))
            except Exception as error:  # whoever awaits it is told, not the event loop
                future.set_exception(error)

        tag = self.expect(complete)
        error = ffi.new("coffer_error *")
        try:
            options = _encode.call(timeout, self._queue.handle, tag)
            errors.check(request.start(options, ffi.NULL, error), error)
        except BaseException:
            self.forget(tag)
            raise
        try:
            return await future
        except asyncio.CancelledError:
            lib.coffer_cancel(self._queue.handle, tag, ffi.NULL)
            raise

    def expect(self, complete: Callable[[Any], None]) -> int:
        """A tag, whose completion is handed to `complete`."""
        tag = next(self._tags)
        self._waiting[tag] = complete
        return tag

    def forget(self, tag: int) -> None:
        """Of a tag with which nothing will come."""
        self._waiting.pop(tag, None)

    def call(self, tag: int) -> Any:
        """A `coffer_call *` that completes here."""
        return _encode.call(None, self._queue.handle, tag)

    def _complete(self) -> None:
        """Hands out what has come."""
        while self._queue.take(self._hand_out):
            pass

    def _hand_out(self, completion: Any) -> bool:
        complete = self._waiting.pop(completion.tag, None)
        if complete is not None:
            complete(completion)
        return True

    async def watch(self, range: RangeLike, start_revision: int) -> Any:
        """Begins to watch."""
        from coffer.aio.watch import Watch  # which uses the queue here

        return await Watch._open(self.handle, range, start_revision)

    async def pause(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)

    async def close(self, close_store: Callable[[Handle], None]) -> None:
        """Closes the store, hands out what came of its calls, and then closes the queue."""
        handle, self.handle = self.handle, NO_HANDLE
        if handle is NO_HANDLE:
            return
        try:
            await in_thread(lambda: close_store(handle))
        finally:
            self._complete()
            self._loop.remove_reader(self._queue.descriptor)
            self._queue.close()

    def abandon(self, close_store: Callable[[Handle], None]) -> None:
        """The same when there may be no event loop any more."""
        handle, self.handle = self.handle, NO_HANDLE
        close_store(handle)  # fails in a forked process, whose event loop is still the parent's too
        if not self._loop.is_closed():
            self._loop.remove_reader(self._queue.descriptor)
        self._queue.close()


async def in_thread(function: Callable[[], T], undo: Callable[[T], None] = lambda _: None) -> T:
    """Calls something that waits in a thread that ends with it. `undo` is for a result that nobody awaits any more."""
    loop = asyncio.get_running_loop()
    future: "asyncio.Future[T]" = loop.create_future()

    def settle(result: Any, error: Optional[BaseException]) -> None:
        if future.done():
            if error is None:
                threading.Thread(target=undo, args=(result,)).start()
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def work() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as caught:
            error = caught
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:  # the loop is closed
            if error is None:
                undo(result)  # type: ignore[arg-type]

    thread = threading.Thread(target=work, name="coffer")
    thread.start()
    result = await future
    thread.join()  # it has nothing left to do
    return result
