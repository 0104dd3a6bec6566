"""What a call raises, by what the caller must do about it.

=========================  ==============================================================
`RequestError`             the request can never succeed as it is: fix it
`AuthenticationError`      the caller is not known or not allowed
`RetryableError`           nothing happened: the same request may succeed later
`OutcomeUnknownError`      it may or may not have happened: read before deciding
`StoreFailedError`         this store can not go on: open it anew, or ask another member
`DamagedError`             stored data is damaged
=========================  ==============================================================

All are `Error`, which has the details. Below them stand the few that programs tell apart. Branch on classes and on `status`,
never on texts.
"""

from typing import Dict, Tuple, Type

from coffer._native import ffi, lib


class Error(Exception):
    """A call failed. `str()` of it says what happened, without keys and values."""

    status: int
    """The number of the failure, one of the `COFFER_*` of coffer.h. It never changes its meaning."""
    name: str
    """The name of `status`, such as `"COFFER_COMPACTED"`."""
    context: str
    """Which call of the library failed, such as `"coffer_put"`; empty if that is not known."""
    retryable: bool
    """The same request may be made again, because nothing happened."""
    maybe_committed: bool
    """The request may have happened although it failed."""
    compact_revision: int
    """Of a `CompactedError` the oldest revision that can still be read; else 0."""

    def __init__(self, status: int, message: str = "", context: str = "", compact_revision: int = 0) -> None:
        self.status = status
        self.name = _text(lib.coffer_status_name(status))
        self.context = context
        self.retryable = bool(lib.coffer_is_retryable(status))
        self.maybe_committed = bool(lib.coffer_is_maybe_committed(status))
        self.compact_revision = compact_revision
        self._message = message or self.name
        super().__init__(self._message)

    def __reduce__(self) -> Tuple[Type["Error"], Tuple[int, str, str, int]]:
        return type(self), (self.status, self._message, self.context, self.compact_revision)


class RequestError(Error):
    """The request can never succeed as it is."""


class InvalidArgumentError(RequestError, ValueError):
    """An argument or an option makes no sense."""


class ClosedError(RequestError):
    """What was called is closed."""


class BusyError(RequestError):
    """An iterator or a watch serves one call at a time, and another one is under way."""


class ForkedError(RequestError):
    """This process was forked from the one that opened a store. Start processes with `spawn` instead."""


class CanceledError(RequestError):
    """The call was cancelled, and did not happen."""


class CannotOpenError(RequestError):
    """The store can not be opened: in use by another process, wrong key, wrong format, no permission."""


class UnsupportedError(RequestError):
    """This kind of store does not offer it."""


class CompactedError(RequestError):
    """The revision was compacted. `compact_revision` is the oldest one that can be read."""


class FutureRevisionError(RequestError):
    """The revision has not happened yet."""


class LeaseNotFoundError(RequestError):
    """There is no such lease: it ended, or never was."""


class LeaseExistsError(RequestError):
    """The chosen id of a lease is taken."""


class AuthenticationError(Error):
    """The caller is not known or not allowed."""


class RetryableError(Error):
    """Nothing happened: the same request may succeed later."""


class CallTimeoutError(RetryableError, TimeoutError):
    """The time was up before anything happened."""


class UnavailableError(RetryableError, ConnectionError):
    """No endpoint could be reached."""


class StoppedError(RetryableError):
    """The store was closed meanwhile."""


class NoSpaceError(RetryableError):
    """The store has reached its quota, or the disk is full. What frees space is still taken."""


class OutcomeUnknownError(Error):
    """It may or may not have happened, or what came of it is not told. Read before deciding."""


class StoreFailedError(Error):
    """This store can not go on: another member of its cluster, or the store opened anew, may."""


class DamagedError(Error):
    """Stored data is damaged; the message names the place."""


_BY_GROUP: Dict[int, Type[Error]] = {
    lib.COFFER_GROUP_FIX_REQUEST: RequestError,
    lib.COFFER_GROUP_AUTHENTICATE: AuthenticationError,
    lib.COFFER_GROUP_RETRY: RetryableError,
    lib.COFFER_GROUP_OUTCOME_UNKNOWN: OutcomeUnknownError,
    lib.COFFER_GROUP_STOP_NODE: StoreFailedError,
    lib.COFFER_GROUP_REPAIR_DATA: DamagedError,
}

_BY_STATUS: Dict[int, Type[Error]] = {
    lib.COFFER_INVALID_ARGUMENT: InvalidArgumentError,
    lib.COFFER_BAD_HANDLE: ClosedError,
    lib.COFFER_BUSY: BusyError,
    lib.COFFER_FORKED: ForkedError,
    lib.COFFER_CANCELED: CanceledError,
    lib.COFFER_CANNOT_OPEN: CannotOpenError,
    lib.COFFER_UNSUPPORTED: UnsupportedError,
    lib.COFFER_COMPACTED: CompactedError,
    lib.COFFER_FUTURE_REVISION: FutureRevisionError,
    lib.COFFER_LEASE_NOT_FOUND: LeaseNotFoundError,
    lib.COFFER_LEASE_EXISTS: LeaseExistsError,
    lib.COFFER_TIMEOUT: CallTimeoutError,
    lib.COFFER_UNAVAILABLE: UnavailableError,
    lib.COFFER_STOPPED: StoppedError,
    lib.COFFER_NO_SPACE: NoSpaceError,
}

FIRST_FAILURE = 100
"""Statuses below are answers."""


def make(status: int, message: str = "", context: str = "", compact_revision: int = 0) -> Error:
    """The exception for a failure."""
    group = lib.coffer_status_group(status)
    kind = _BY_STATUS.get(status) or _BY_GROUP.get(group, StoreFailedError)
    return kind(status, message, context, compact_revision)


def failure(status: int, error: object) -> Error:
    """The exception for a failure of the library, with what `error`, a `coffer_error *`, says. Frees that."""
    info = ffi.new("coffer_error_info *", {"size": ffi.sizeof("coffer_error_info")})
    try:
        # The call may have left the error empty: in a forked process, say.
        if lib.coffer_error_get(error[0], info) != lib.COFFER_OK:  # type: ignore[index]
            return make(status)
        return make(status, _text(info.message), _text(info.context), info.compact_revision)
    finally:
        lib.coffer_error_free(error)


def check(status: int, error: object) -> int:
    """The status of an answer; raises a failure."""
    if status >= FIRST_FAILURE:
        raise failure(status, error)
    return status


def _text(text: object) -> str:
    """A C string, which may be NULL."""
    return "" if text == ffi.NULL else bytes(ffi.string(text)).decode("utf-8", "replace")
