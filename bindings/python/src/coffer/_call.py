"""A call as a value, and how one is made that waits.

The same `Request` serves both surfaces: here it waits for its answer, in `coffer.aio` it completes at a queue.
"""

from typing import Any, Callable, Generic, List, Optional, Tuple, TypeVar

from coffer import _encode, errors
from coffer._native import ffi, lib

T = TypeVar("T")


class Request(Generic[T]):
    """A call that was not made yet."""

    __slots__ = ("start", "decode", "always_waits")

    def __init__(
        self, start: Callable[[Any, Any, Any], int], decode: Callable[[int, Any], T], always_waits: bool = False
    ) -> None:
        self.start = start
        """Makes it, of a call, a result and an error; returns the status."""
        self.decode = decode
        """The answer, of a status that is no failure and a result."""
        self.always_waits = always_waits
        """The library has no queue for it."""


Reply = Tuple[Any, Any]
"""A result and an error."""

_spare: List[Reply] = []
"""Replies for the next calls: to make one costs as much as the rest of a small call. Lists are safe among threads."""


def take_reply() -> Reply:
    """An empty reply."""
    try:
        return _spare.pop()
    except IndexError:
        return ffi.new("coffer_result *", {"size": ffi.sizeof("coffer_result")}), ffi.new("coffer_error *")


def return_reply(reply: Reply) -> None:
    """Frees what a reply holds, which wipes it."""
    lib.coffer_result_free(reply[0])
    _spare.append(reply)


def run(request: Request[T], timeout: Optional[float] = None) -> T:
    """Makes a call and waits for its answer. Other threads run meanwhile."""
    reply = take_reply()
    try:
        result, error = reply
        status = errors.check(request.start(_encode.call(timeout), result, error), error)
        return request.decode(status, result)
    finally:
        return_reply(reply)


def call(function: Callable[..., int], *arguments: Any) -> int:
    """Makes a call that has no result: `error` is added as its last argument."""
    error = ffi.new("coffer_error *")
    return errors.check(function(*arguments, error), error)
