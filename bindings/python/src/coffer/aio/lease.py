"""Keeping leases alive."""

import asyncio
from types import TracebackType
from typing import Any, Optional, Type

from coffer import errors
from coffer._call import call
from coffer._handle import Owned
from coffer._native import ffi, lib
from coffer.aio._calls import Calls, failure_of


class Keeper:
    """Keeps a lease alive in the background, until it is closed. Made by `Store.keep_alive`.

    Closing it ends the keeping, not the lease: that runs out.
    """

    def __init__(self, calls: Calls, lease: int) -> None:
        self.lease = lease
        self._calls = calls
        self._lost: Optional[errors.Error] = None
        self._over = asyncio.Event()
        self._tag = calls.expect(self._end)
        made = ffi.new("coffer_keeper *")
        try:
            call(lib.coffer_keeper_open, calls.handle, lease, calls.call(self._tag), made)
        except BaseException:
            calls.forget(self._tag)
            raise
        self._keeper = Owned("keeper", made)

    def _end(self, completion: Any) -> None:
        self._lost = failure_of(completion)
        self._over.set()

    @property
    def lost(self) -> Optional[errors.Error]:
        """Why the lease can no longer be kept; None while it is."""
        return self._lost

    @property
    def closed(self) -> bool:
        """It is closed."""
        return self._keeper.closed

    async def wait(self, timeout: Optional[float] = None) -> Optional[errors.Error]:
        """Waits up to `timeout` seconds until the lease is lost, and tells why. None if it is kept, or the keeper closed."""
        try:
            await asyncio.wait_for(self._over.wait(), timeout)
        except asyncio.TimeoutError:
            pass
        return self._lost

    def close(self) -> None:
        """Ceases to keep the lease. Who waits returns."""
        self._keeper.close()
        self._calls.forget(self._tag)
        self._over.set()

    async def __aenter__(self) -> "Keeper":
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()
