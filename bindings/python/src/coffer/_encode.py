"""Arguments of the library, as cffi takes them: tuples for structs, lists of one for pointers to structs.

A tuple holds the memory that its pointers point to. The library copies what it is given before a call returns, so that
nothing here needs to live longer than the call.
"""

import math
import os
from datetime import timedelta
from typing import Any, List, Mapping, Optional, Tuple, Union

from coffer._native import ffi, lib
from coffer.ranges import KeyRange
from coffer.txn import Get, Put

Handle = Tuple[int]
"""A handle of the library, by value."""

NO_HANDLE: Handle = (0,)

OptionValue = Union[str, int, bool, timedelta, "os.PathLike[str]"]
"""The value of an option. Options and what they mean are those of `coffer_option` in coffer.h, with `_` for `-`."""

_RANGE_BYTES = ffi.sizeof("coffer_key_range")
_PUT_BYTES = ffi.sizeof("coffer_put_options")
_READ_BYTES = ffi.sizeof("coffer_read_options")
_WATCH_BYTES = ffi.sizeof("coffer_watch_options")
_CALL_BYTES = ffi.sizeof("coffer_call")


def data(data: bytes) -> Tuple[Any, int]:
    """A `coffer_bytes`."""
    return ffi.from_buffer("uint8_t[]", data), len(data)


def text(text: "Union[str, os.PathLike[str]]") -> Any:
    """A C string, of a path too. A zero byte would end it early, and is refused."""
    encoded = os.fsencode(text)
    if b"\0" in encoded:
        raise ValueError("a zero byte in a text")
    return ffi.new("char[]", encoded)


def key_range(range: KeyRange) -> List[Any]:
    """A `coffer_key_range *`."""
    return [(_RANGE_BYTES, range.kind, data(range.start), data(range.end))]


def options(options: Mapping[str, OptionValue]) -> List[Any]:
    """An array of `coffer_option`."""
    return [(text(name.replace("_", "-")), text(_option(value))) for name, value in options.items()]


def _option(value: OptionValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        return f"{round(value.total_seconds() * 1000)}ms"
    return str(value) if isinstance(value, int) else os.fspath(value)


def call(timeout: Optional[float], queue: Handle = NO_HANDLE, tag: int = 0) -> Any:
    """A `coffer_call *`. `timeout` is in seconds: None for the store's `command-timeout`, infinite for no limit."""
    if timeout is None and queue is NO_HANDLE:
        return ffi.NULL
    return [(_CALL_BYTES, 0, 0 if timeout is None else milliseconds(timeout), queue, tag)]


def milliseconds(timeout: Optional[float]) -> int:
    """A time in whole milliseconds, at least one; -1 for None and infinite, which is no limit."""
    if timeout is None or math.isinf(timeout):
        return -1
    return max(1, math.ceil(timeout * 1000))


def put_options(put: Put) -> List[Any]:
    """A `coffer_put_options *`."""
    flags = (
        put.previous * lib.COFFER_PUT_PREVIOUS
        | put.keep_value * lib.COFFER_PUT_KEEP_VALUE
        | put.keep_lease * lib.COFFER_PUT_KEEP_LEASE
    )
    return [(_PUT_BYTES, flags, put.lease)]


def read_options(get: Get) -> List[Any]:
    """A `coffer_read_options *`."""
    flags = (
        get.serializable * lib.COFFER_READ_SERIALIZABLE
        | get.keys_only * lib.COFFER_READ_KEYS_ONLY
        | get.count_only * lib.COFFER_READ_COUNT_ONLY
    )
    # What order there is without being asked for is ascending by key; any other column must be told.
    order = lib.COFFER_ORDER_NONE
    if get.descending:
        order = lib.COFFER_ORDER_DESCEND
    elif get.sort != lib.COFFER_SORT_KEY:
        order = lib.COFFER_ORDER_ASCEND
    return [
        (
            _READ_BYTES,
            flags,
            get.revision,
            get.limit,
            int(get.sort),
            order,
            get.min_mod_revision,
            get.max_mod_revision,
            get.min_create_revision,
            get.max_create_revision,
        )
    ]


def watch_options(start_revision: int, previous: bool, progress: bool, puts: bool, deletes: bool) -> List[Any]:
    """A `coffer_watch_options *`."""
    flags = (
        previous * lib.COFFER_WATCH_PREVIOUS
        | progress * lib.COFFER_WATCH_PROGRESS
        | (not puts) * lib.COFFER_WATCH_NO_PUT
        | (not deletes) * lib.COFFER_WATCH_NO_DELETE
        | lib.COFFER_WATCH_FRAGMENTS
    )
    return [(_WATCH_BYTES, flags, start_revision)]
