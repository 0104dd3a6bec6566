"""Coffer: an encrypted, replicated key-value store, embedded or behind a socket.

::

    import coffer

    with coffer.open("file:///var/lib/app/store", seal_key_file="/etc/app/key") as store:
        store.put("config/colour", "green")
        print(store.get("config/colour").value)

`coffer.aio` offers the same to asyncio. Exceptions say what to do: see `coffer.errors`.
"""

from coffer._encode import OptionValue
from coffer.coordination import Election, Lock, Session
from coffer.data import (
    DataKey,
    DeleteResult,
    Event,
    EventKind,
    HashKv,
    Keys,
    KeySlot,
    KeyValue,
    Lease,
    LeaseInfo,
    Member,
    PutResult,
    RangeResult,
    SnapshotInfo,
    StoreInfo,
    TxnResult,
    Update,
)
from coffer.errors import (
    AuthenticationError,
    BusyError,
    CallTimeoutError,
    CanceledError,
    CannotOpenError,
    ClosedError,
    CompactedError,
    DamagedError,
    Error,
    ForkedError,
    FutureRevisionError,
    InvalidArgumentError,
    LeaseExistsError,
    LeaseNotFoundError,
    NoSpaceError,
    OutcomeUnknownError,
    RequestError,
    RetryableError,
    StoppedError,
    StoreFailedError,
    UnavailableError,
    UnsupportedError,
)
from coffer.files import check_options, generate_key, snapshot_restore, snapshot_status, version
from coffer.lease import Keeper
from coffer.log import set_log
from coffer.pages import RangeIterator
from coffer.ranges import Data, KeyRange, RangeLike, at_or_after, between, everything, key, prefix
from coffer.store import Draft, Store, StoreTxn, open
from coffer.txn import Compare, Delete, Get, Operation, Put, Sort, Txn
from coffer.watch import Watch

__version__ = version()

__all__ = [
    "AuthenticationError",
    "BusyError",
    "CallTimeoutError",
    "CanceledError",
    "CannotOpenError",
    "ClosedError",
    "CompactedError",
    "Compare",
    "DamagedError",
    "Data",
    "DataKey",
    "Delete",
    "DeleteResult",
    "Draft",
    "Election",
    "Error",
    "Event",
    "EventKind",
    "ForkedError",
    "FutureRevisionError",
    "Get",
    "HashKv",
    "InvalidArgumentError",
    "Keeper",
    "KeyRange",
    "KeySlot",
    "KeyValue",
    "Keys",
    "Lease",
    "LeaseExistsError",
    "LeaseInfo",
    "LeaseNotFoundError",
    "Lock",
    "Member",
    "NoSpaceError",
    "Operation",
    "OptionValue",
    "OutcomeUnknownError",
    "Put",
    "PutResult",
    "RangeIterator",
    "RangeLike",
    "RangeResult",
    "RequestError",
    "RetryableError",
    "Session",
    "SnapshotInfo",
    "Sort",
    "StoppedError",
    "Store",
    "StoreFailedError",
    "StoreInfo",
    "StoreTxn",
    "Txn",
    "TxnResult",
    "UnavailableError",
    "UnsupportedError",
    "Update",
    "Watch",
    "at_or_after",
    "between",
    "check_options",
    "everything",
    "generate_key",
    "key",
    "open",
    "prefix",
    "set_log",
    "snapshot_restore",
    "snapshot_status",
    "version",
]
