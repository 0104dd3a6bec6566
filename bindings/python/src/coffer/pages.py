"""Reading a range in pages, so that memory stays bounded however large it is."""

from collections import deque
from types import TracebackType
from typing import Deque, Iterator, List, Optional, Type

from coffer import _encode, _requests
from coffer._call import call, run
from coffer._encode import Handle
from coffer._handle import Owned
from coffer._native import ffi, lib
from coffer.data import KeyValue
from coffer.ranges import RangeLike, to_range
from coffer.txn import Get


def open_iterator(store: Handle, range: RangeLike, get: Get) -> Owned:
    """Begins to read. Nothing is read yet."""
    made = ffi.new("coffer_iter *")
    call(lib.coffer_iter_open, store, _encode.key_range(to_range(range)), _encode.read_options(get), made)
    return Owned("iter", made)


class RangeIterator(Iterator[KeyValue]):
    """The pairs of a range in ascending order of keys, all as of one revision. Closed at its end, or by `close`.

    Serves one thread at a time.
    """

    def __init__(self, store: Handle, range: RangeLike, get: Get, timeout: Optional[float]) -> None:
        self._iterator = open_iterator(store, range, get)
        self._timeout = timeout
        self._read: Deque[KeyValue] = deque()
        self.revision = get.revision
        """The revision of all pairs; 0 before the first page was read."""

    def __iter__(self) -> "RangeIterator":
        return self

    def __next__(self) -> KeyValue:
        while not self._read:
            self._read.extend(self._next_page())
        return self._read.popleft()

    def pages(self) -> Iterator[List[KeyValue]]:
        """The same page by page: some pairs, a few hundred KiB, or one larger pair."""
        if self._read:
            yield list(self._read)
            self._read.clear()
        while True:
            try:
                page = self._next_page()
            except StopIteration:
                return
            yield page

    def _next_page(self) -> List[KeyValue]:
        """Raises StopIteration at the end."""
        if self._iterator.closed:
            raise StopIteration
        try:
            page = run(_requests.page(self._iterator.value), self._timeout)
        except BaseException:
            self.close()
            raise
        if page is None:
            self.close()
            raise StopIteration
        self.revision, pairs = page
        return pairs

    def close(self) -> None:
        """Ends it. Pairs that were read already are still there."""
        self._iterator.close()

    def __enter__(self) -> "RangeIterator":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()
