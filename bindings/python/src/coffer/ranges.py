"""Which keys a call is about.

Where a call takes a range, a plain key means that key alone; the functions here make the others::

    store.range(coffer.prefix("config/"))
    store.delete(coffer.between("a", "c"))
    store.watch(coffer.everything())
"""

from typing import NamedTuple, Union

from coffer._native import lib

Data = Union[bytes, bytearray, memoryview, str]
"""Keys and values: binary; text is taken as UTF-8."""


def to_bytes(data: Data) -> bytes:
    """The bytes of a key or a value."""
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return data.encode("utf-8")
    if isinstance(data, (bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"keys and values are bytes or str, not {type(data).__name__}")


class KeyRange(NamedTuple):
    """Some keys. Made by the functions of this module."""

    kind: int
    start: bytes
    end: bytes = b""

    def __repr__(self) -> str:
        return f"KeyRange(kind={self.kind})"


RangeLike = Union[KeyRange, bytes, bytearray, memoryview, str]
"""A range; a plain key means that key alone."""


def to_range(range: RangeLike) -> KeyRange:
    """The range that is meant."""
    return range if isinstance(range, KeyRange) else key(range)


def key(key: Data) -> KeyRange:
    """One key."""
    return KeyRange(lib.COFFER_RANGE_KEY, to_bytes(key))


def prefix(prefix: Data) -> KeyRange:
    """Every key that begins with `prefix`; every key if that is empty."""
    return KeyRange(lib.COFFER_RANGE_PREFIX, to_bytes(prefix))


def between(start: Data, end: Data) -> KeyRange:
    """The keys from `start` on, below `end`."""
    return KeyRange(lib.COFFER_RANGE_BETWEEN, to_bytes(start), to_bytes(end))


def at_or_after(start: Data) -> KeyRange:
    """The keys from `start` on."""
    return KeyRange(lib.COFFER_RANGE_FROM, to_bytes(start))


def everything() -> KeyRange:
    """Every key."""
    return KeyRange(lib.COFFER_RANGE_ALL, b"")
