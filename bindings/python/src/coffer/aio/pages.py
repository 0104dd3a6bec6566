"""Reading a range in pages, so that memory stays bounded however large it is."""

from collections import deque
from types import TracebackType
from typing import AsyncIterator, Deque, List, Optional, Type

from coffer import _requests
from coffer.aio._calls import Calls
from coffer.data import KeyValue
from coffer.pages import open_iterator
from coffer.ranges import RangeLike
from coffer.txn import Get


class RangeIterator(AsyncIterator[KeyValue]):
    """The pairs of a range in ascending order of keys, all as of one revision. Closed at its end, or by `close`.

    Serves one task at a time.
    """

    def __init__(self, calls: Calls, range: RangeLike, get: Get, timeout: Optional[float]) -> None:
        self._calls = calls
        self._iterator = open_iterator(calls.handle, range, get)
        self._timeout = timeout
        self._read: Deque[KeyValue] = deque()
        self.revision = get.revision
        """The revision of all pairs; 0 before the first page was read."""

    def __aiter__(self) -> "RangeIterator":
        return self

    async def __anext__(self) -> KeyValue:
        while not self._read:
            self._read.extend(await self._next_page())
        return self._read.popleft()

    async def pages(self) -> AsyncIterator[List[KeyValue]]:
        """The same page by page: some pairs, a few hundred KiB, or one larger pair."""
        if self._read:
            yield list(self._read)
            self._read.clear()
        while True:
            try:
                page = await self._next_page()
            except StopAsyncIteration:
                return
            yield page

    async def _next_page(self) -> List[KeyValue]:
        """Raises StopAsyncIteration at the end."""
        if self._iterator.closed:
            raise StopAsyncIteration
        try:
            page = await self._calls.run(_requests.page(self._iterator.value), self._timeout)
        except BaseException:
            self.close()
            raise
        if page is None:
            self.close()
            raise StopAsyncIteration
        self.revision, pairs = page
        return pairs

    def close(self) -> None:
        """Ends it. Pairs that were read already are still there."""
        self._iterator.close()

    async def __aenter__(self) -> "RangeIterator":
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()
