"""Sessions, locks and elections, as in `coffer.coordination`."""

from types import TracebackType
from typing import TYPE_CHECKING, AsyncGenerator, Optional, Type

from coffer import errors
from coffer._core import Deadline, Line, Place
from coffer._native import lib
from coffer.data import KeyValue
from coffer.aio.lease import Keeper
from coffer.ranges import Data, to_bytes
from coffer.txn import Compare

if TYPE_CHECKING:
    from coffer.aio.store import Store


class Session:
    """A lease that is kept alive. Made by `Store.session`; with its end the locks and elections of it end too."""

    def __init__(self, store: "Store", lease: int, keeper: Keeper) -> None:
        self._store = store
        self._keeper = keeper
        self.lease = lease

    @classmethod
    async def _begin(cls, store: "Store", ttl_s: int, lease: int) -> "Session":
        """With a lease of its own, unless there is one to take over."""
        kept = lease or (await store.lease_grant(ttl_s)).id
        try:
            return cls(store, kept, store.keep_alive(kept))
        except BaseException:
            if not lease:
                await store.lease_revoke(kept)
            raise

    @property
    def lost(self) -> Optional[errors.Error]:
        """Why the session is over, while it was not closed; None as long as it is alive."""
        return self._keeper.lost

    async def wait(self, timeout: Optional[float] = None) -> Optional[errors.Error]:
        """Waits up to `timeout` seconds until the session is lost, and tells why. None if it was not."""
        return await self._keeper.wait(timeout)

    def lock(self, name: Data) -> "Lock":
        """A lock of this name; keys below `name/` are those who wait. Two of one name in one session hold it together."""
        return Lock(self, name)

    def election(self, name: Data) -> "Election":
        """An election of this name; keys below `name/` are those who stand."""
        return Election(self, name)

    def orphan(self) -> None:
        """Ceases to keep the lease, which runs out."""
        self._keeper.close()

    async def close(self) -> None:
        """Ends the lease, and so gives up what was held. A second time does nothing."""
        if not self._keeper.closed:
            self._keeper.close()
            await self._revoke()

    async def _revoke(self) -> None:
        try:
            await self._store.lease_revoke(self.lease)
        except (errors.LeaseNotFoundError, errors.ClosedError):
            pass

    async def __aenter__(self) -> "Session":
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()


class Lock:
    """A lock that one session at a time holds: `async with session.lock("name") as lock: …`."""

    def __init__(self, session: Session, name: Data) -> None:
        self._session = session
        self._line = Line.of(session._store._calls, name)
        self._place: Optional[Place] = None

    async def acquire(self, timeout: Optional[float] = None) -> int:
        """Waits up to `timeout` seconds for the lock, and answers its fencing token.

        Raises `CallTimeoutError` if it did not get it in time, `LeaseNotFoundError` if the session was lost. Whatever it
        raises, the place in line is given up, by now or with the lease.
        """
        if self._place is None:
            session = self._session
            taken = self._line.take_turn(session.lease, b"", lambda: session.lost, timeout)
            self._place = await taken
        return self._place.fence

    async def try_acquire(self, timeout: Optional[float] = None) -> bool:
        """Takes the lock if nobody has it. `timeout` is that of the call: it does not wait for the lock."""
        if self._place is None:
            self._place = await self._line.try_turn(self._session.lease, timeout)
        return self._place is not None

    async def release(self, timeout: Optional[float] = None) -> None:
        """Gives the lock up."""
        if self._place is not None:
            await self._line.leave(self._place, timeout)
            self._place = None

    @property
    def acquired(self) -> bool:
        """It was acquired, and not released. It may have been lost since: see `held`."""
        return self._place is not None

    @property
    def fence(self) -> int:
        """The fencing token: who holds the lock later has a greater one."""
        return self._held().fence

    @property
    def key(self) -> bytes:
        """The key that stands for the holder."""
        return self._held().key

    def held(self) -> Compare:
        """The condition that the lock is still held, for transactions."""
        return self._held().held()

    def _held(self) -> Place:
        if self._place is None:
            raise errors.make(lib.COFFER_INVALID_ARGUMENT, "the lock is not held")
        return self._place

    async def __aenter__(self) -> "Lock":
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.release()


class Election:
    """An election: one session at a time leads, and says a value. Who leads is seen by everybody."""

    def __init__(self, session: Session, name: Data) -> None:
        self._session = session
        self._line = Line.of(session._store._calls, name)
        self._place: Optional[Place] = None

    async def campaign(self, value: Data, timeout: Optional[float] = None) -> int:
        """Waits up to `timeout` seconds to lead, and answers the fencing token. Who leads already changes its value."""
        if self._place is not None:
            await self.proclaim(value, timeout)
            return self._place.fence
        session = self._session
        self._place = await self._line.take_turn(session.lease, to_bytes(value), lambda: session.lost, timeout)
        return self._place.fence

    async def proclaim(self, value: Data, timeout: Optional[float] = None) -> None:
        """Changes the value, without another election. Raises `LeaseNotFoundError` if the lead was lost."""
        await self._line.announce(self._led(), to_bytes(value), Deadline(timeout))

    async def resign(self, timeout: Optional[float] = None) -> None:
        """Gives the lead up."""
        if self._place is not None:
            await self._line.leave(self._place, timeout)
            self._place = None

    async def leader(self, timeout: Optional[float] = None) -> Optional[KeyValue]:
        """Who leads now: its key, value, and in `create_revision` its fencing token. None if nobody does."""
        return (await self._line.first(timeout))[1]

    def observe(self) -> AsyncGenerator[KeyValue, None]:
        """Who leads, each time that it or its value changes; waits in between, for ever."""
        return self._line.observe()

    @property
    def leads(self) -> bool:
        """It was elected, and did not resign. It may have been lost since: see `held`."""
        return self._place is not None

    @property
    def fence(self) -> int:
        """The fencing token: who leads later has a greater one."""
        return self._led().fence

    def held(self) -> Compare:
        """The condition that this session still leads, for transactions."""
        return self._led().held()

    def _led(self) -> Place:
        if self._place is None:
            raise errors.make(lib.COFFER_INVALID_ARGUMENT, "this session does not lead")
        return self._place
