"""Keeping leases alive."""

import time
from types import TracebackType
from typing import Optional, Type

from coffer import _encode, errors
from coffer._call import call
from coffer._encode import Handle
from coffer._handle import Owned
from coffer._native import ffi, lib
from coffer.watch import SLICE_S


class Keeper:
    """Keeps a lease alive in the background, until it is closed. Made by `Store.keep_alive`.

    Closing it ends the keeping, not the lease: that runs out.
    """

    def __init__(self, store: Handle, lease: int) -> None:
        made = ffi.new("coffer_keeper *")
        call(lib.coffer_keeper_open, store, lease, ffi.NULL, made)
        self._keeper = Owned("keeper", made)
        self.lease = lease
        self._lost: Optional[errors.Error] = None

    @property
    def closed(self) -> bool:
        """It is closed."""
        return self._keeper.closed

    @property
    def lost(self) -> Optional[errors.Error]:
        """Why the lease can no longer be kept; None while it is. Does not wait."""
        if self._lost is None and not self._keeper.closed:
            self._look(0)
        return self._lost

    def wait(self, timeout: Optional[float] = None) -> Optional[errors.Error]:
        """Waits up to `timeout` seconds until the lease is lost, and tells why. None if it is kept, or the keeper closed."""
        until = None if timeout is None else time.monotonic() + timeout
        while self._lost is None and not self._keeper.closed:
            left = SLICE_S if until is None else min(SLICE_S, until - time.monotonic())
            if left <= 0:
                break
            self._look(_encode.milliseconds(left))
        return self._lost

    def _look(self, wait_ms: int) -> None:
        error = ffi.new("coffer_error *")
        status = lib.coffer_keeper_wait(self._keeper.value, wait_ms, error)
        if status < errors.FIRST_FAILURE:
            return
        why = errors.failure(status, error)
        # Another thread that looks will tell; one that closed the keeper knows.
        if status == lib.COFFER_BUSY:
            if wait_ms:
                time.sleep(min(wait_ms, 20) / 1000)
        elif not self._keeper.closed:
            self._lost = why

    def close(self) -> None:
        """Ceases to keep the lease. Who waits returns."""
        self._keeper.close()

    def __enter__(self) -> "Keeper":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()
