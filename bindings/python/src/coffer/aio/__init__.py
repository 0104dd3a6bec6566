"""Coffer for asyncio: the calls of `coffer`, to be awaited.

::

    import coffer.aio

    async with await coffer.aio.open("mem:") as store:
        await store.put("config/colour", "green")
        async for pair in store.range(coffer.prefix("config/")):
            print(pair.key, pair.value)

What waits is the descriptor of a queue, not a thread; only opening, closing and the keys of a store use one for as long as they
take. Everything else, such as ranges, transactions, results and errors, is that of `coffer`.
"""

from coffer._core import Draft
from coffer.aio.coordination import Election, Lock, Session
from coffer.aio.lease import Keeper
from coffer.aio.pages import RangeIterator
from coffer.aio.store import Store, StoreTxn, open
from coffer.aio.watch import Watch

__all__ = [
    "Draft",
    "Election",
    "Keeper",
    "Lock",
    "RangeIterator",
    "Session",
    "Store",
    "StoreTxn",
    "Watch",
    "open",
]
