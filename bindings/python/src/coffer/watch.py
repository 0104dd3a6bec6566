"""Watching a range."""

import time
from types import TracebackType
from typing import Iterator, Optional, Type

from coffer import _decode, _encode, errors
from coffer._call import call, return_reply, take_reply
from coffer._encode import Handle
from coffer._handle import Owned
from coffer._native import ffi, lib
from coffer.data import Update
from coffer.ranges import RangeLike, to_range

SLICE_S = 0.2
"""A wait without end is made of waits this long, so that the interpreter can handle signals in between: Ctrl-C."""


class Watch(Iterator[Update]):
    """What happens to a range, as `Update`s in the order of revisions. Made by `Store.watch`.

    Iterating waits for the next update, and ends once the watch is closed. It raises `CompactedError` if the watch fell
    behind a compaction, and `StoppedError` once the store is closed; whatever it raises, the watch is over. To go on where it
    was begin another one with `start_revision=watch.resume_revision`; after a compaction that raises again, and what
    was compacted away is lost: read anew what is there, and watch from the next revision.

    Waiting is for one thread at a time, closing for any.
    """

    def __init__(
        self,
        store: Handle,
        range: RangeLike,
        start_revision: int = 0,
        previous: bool = False,
        progress: bool = False,
        puts: bool = True,
        deletes: bool = True,
        timeout: Optional[float] = None,
    ) -> None:
        made = ffi.new("coffer_watch *")
        options = _encode.watch_options(start_revision, previous, progress, puts, deletes)
        keys = _encode.key_range(to_range(range))
        call(lib.coffer_watch_open, store, keys, options, _encode.call(timeout), made)
        self._watch = Owned("watch", made)
        begun = ffi.new("int64_t *")
        call(lib.coffer_watch_resume, self._watch.value, begun)
        self.resume_revision: int = begun[0]
        """The `start_revision` with which another watch goes on behind the last update that this one handed out."""

    def next(self, timeout: Optional[float] = None) -> Optional[Update]:
        """Waits for the next update, up to `timeout` seconds. None if none came, or the watch is closed."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._watch.closed:
            left = SLICE_S if until is None else min(SLICE_S, until - time.monotonic())
            update = self._take(left)
            if update is not None or (until is not None and time.monotonic() >= until):
                return update
        return None

    def _take(self, timeout: float) -> Optional[Update]:
        reply = take_reply()
        result, error = reply
        try:
            wait_ms = _encode.milliseconds(timeout) if timeout > 0 else 0
            status = lib.coffer_watch_next(self._watch.value, wait_ms, result, error)
            if status == lib.COFFER_OK:
                return self._seen(_decode.update(result))
            if status == lib.COFFER_END or self._watch.closed:
                lib.coffer_error_free(error)
                self.close()
            elif status >= errors.FIRST_FAILURE:
                raise self._over(status, error)
            return None
        finally:
            return_reply(reply)

    def _seen(self, update: Update) -> Update:
        if not update.fragment:
            self.resume_revision = max(self.resume_revision, update.revision + 1)
        return update

    def _over(self, status: int, error: object) -> errors.Error:
        if status != lib.COFFER_BUSY:
            self.close()
        return errors.failure(status, error)

    def request_progress(self) -> None:
        """Asks for an update, perhaps without events, as soon as everything that has happened was delivered."""
        call(lib.coffer_watch_request_progress, self._watch.value)

    def close(self) -> None:
        """Ends it. Who waits in it returns."""
        self._watch.close()

    @property
    def closed(self) -> bool:
        """It is over."""
        return self._watch.closed

    def __iter__(self) -> "Watch":
        return self

    def __next__(self) -> Update:
        update = self.next()
        if update is None:
            raise StopIteration
        return update

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()
