"""Transactions: conditions, then one of two lists of operations, atomically.

A `Txn` is plain data, put together in any order, belongs to no store, and may be committed more than once::

    taken = store.commit(
        Txn().when(Compare.missing("lock")).then(Put("lock", "me")).otherwise(Get("lock"))
    )

A transaction may be an operation of another one.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, List, Tuple, TypeVar, Union

from coffer._native import lib
from coffer.ranges import Data, KeyRange, RangeLike, to_bytes, to_range

V = TypeVar("V", int, Data)
Self = TypeVar("Self", bound="Txn")


class Sort(IntEnum):
    """What a range is sorted by."""

    KEY = lib.COFFER_SORT_KEY
    VERSION = lib.COFFER_SORT_VERSION
    CREATE_REVISION = lib.COFFER_SORT_CREATE
    MOD_REVISION = lib.COFFER_SORT_MOD
    VALUE = lib.COFFER_SORT_VALUE


@dataclass(frozen=True, repr=False)
class Compare:
    """One condition of a transaction.

    A key that does not exist has version, revisions and lease 0, and no value: a condition on its value never holds.
    """

    range: KeyRange
    target: int
    relation: int
    given: Union[int, bytes]

    @staticmethod
    def exists(key: Data) -> "Compare":
        """The key exists."""
        return Compare.created(key).above(0)

    @staticmethod
    def missing(key: Data) -> "Compare":
        """The key does not exist."""
        return Compare.created(key).equals(0)

    @staticmethod
    def value(keys: RangeLike) -> "Field[Data]":
        """The value of a key, or of every key in a range. So the others."""
        return Field(to_range(keys), lib.COFFER_COMPARE_VALUE)

    @staticmethod
    def version(keys: RangeLike) -> "Field[int]":
        """How often a key was written since it was created."""
        return Field(to_range(keys), lib.COFFER_COMPARE_VERSION)

    @staticmethod
    def created(keys: RangeLike) -> "Field[int]":
        """The revision at which a key was created."""
        return Field(to_range(keys), lib.COFFER_COMPARE_CREATE)

    @staticmethod
    def modified(keys: RangeLike) -> "Field[int]":
        """The revision at which a key was last written."""
        return Field(to_range(keys), lib.COFFER_COMPARE_MOD)

    @staticmethod
    def lease(keys: RangeLike) -> "Field[int]":
        """The lease of a key."""
        return Field(to_range(keys), lib.COFFER_COMPARE_LEASE)


@dataclass(frozen=True, repr=False)
class Field(Generic[V]):
    """A property of keys that awaits what it is compared with."""

    range: KeyRange
    target: int

    def equals(self, given: V) -> Compare:
        """It is this."""
        return self._compare(lib.COFFER_IS_EQUAL, given)

    def differs_from(self, given: V) -> Compare:
        """It is not this."""
        return self._compare(lib.COFFER_IS_NOT_EQUAL, given)

    def above(self, given: V) -> Compare:
        """It is greater than this."""
        return self._compare(lib.COFFER_IS_GREATER, given)

    def below(self, given: V) -> Compare:
        """It is less than this."""
        return self._compare(lib.COFFER_IS_LESS, given)

    def _compare(self, relation: int, given: V) -> Compare:
        if self.target == lib.COFFER_COMPARE_VALUE:
            return Compare(self.range, self.target, relation, to_bytes(given))  # type: ignore[arg-type]
        if not isinstance(given, int):
            raise TypeError("this property is compared with a number")
        return Compare(self.range, self.target, relation, given)


@dataclass(frozen=True, repr=False)
class Put:
    """Writes a key. Answered by a `PutResult`."""

    key: Data
    value: Data = b""
    lease: int = 0
    """The lease that the key ends with; 0 for none."""
    previous: bool = False
    """Answer with the pair before."""
    keep_value: bool = False
    """Keep the value that the key has; the given one must be empty."""
    keep_lease: bool = False
    """Keep the lease that the key has; the given one must be 0."""


@dataclass(frozen=True, repr=False)
class Get:
    """Reads a range of keys. Answered by a `RangeResult`, which sees what operations before it did."""

    range: RangeLike
    revision: int = 0
    """Read as of this revision; 0 for the newest."""
    limit: int = 0
    """At most so many keys; 0 for all."""
    keys_only: bool = False
    count_only: bool = False
    serializable: bool = False
    """Let one member answer from what it has, which may be old."""
    sort: Sort = Sort.KEY
    descending: bool = False
    min_mod_revision: int = 0
    """Only keys last written at or after this revision; 0 for no bound. So the other three."""
    max_mod_revision: int = 0
    min_create_revision: int = 0
    max_create_revision: int = 0


@dataclass(frozen=True, repr=False)
class Delete:
    """Deletes a range of keys. Answered by a `DeleteResult`."""

    range: RangeLike
    previous: bool = False
    """Answer with the pairs that were deleted."""


class Txn:
    """A transaction. All conditions must hold for the operations of `then` to run; else those of `otherwise` run."""

    def __init__(self) -> None:
        self.conditions: List[Compare] = []
        self.branches: Tuple[List[Operation], List[Operation]] = ([], [])

    def when(self: Self, *conditions: Compare) -> Self:
        """Adds conditions."""
        self.conditions.extend(conditions)
        return self

    def then(self: Self, *operations: "Operation") -> Self:
        """Adds operations that run if all conditions hold."""
        self.branches[0].extend(operations)
        return self

    def otherwise(self: Self, *operations: "Operation") -> Self:
        """Adds operations that run if a condition does not hold."""
        self.branches[1].extend(operations)
        return self


Operation = Union[Put, Get, Delete, Txn]
