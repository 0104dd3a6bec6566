"""Handles of the library that are closed once, whoever does it."""

from typing import Any

from coffer._encode import NO_HANDLE, Handle
from coffer._native import ffi, lib

_CLOSE = {
    "queue": lib.coffer_queue_close,
    "iter": lib.coffer_iter_close,
    "watch": lib.coffer_watch_close,
    "keeper": lib.coffer_keeper_close,
}


class Owned:
    """A handle, and with it what it stands for. Closed with its last owner at the latest.

    Once it is closed `value` is no handle, and calls with it raise `ClosedError`.
    """

    __slots__ = ("value", "_close", "__weakref__")

    def __init__(self, kind: str, made: Any) -> None:
        self.value: Handle = (made.id,)
        self._close = _CLOSE[kind]

    @property
    def closed(self) -> bool:
        """It is closed."""
        return self.value is NO_HANDLE

    def close(self) -> None:
        """Closes it. A second time does nothing."""
        value, self.value = self.value, NO_HANDLE
        if value is not NO_HANDLE:
            self._close(value, ffi.NULL)

    def __del__(self) -> None:
        if hasattr(self, "value"):
            self.close()
