"""The same for asyncio."""

import asyncio
import inspect
import threading
from pathlib import Path
from typing import Any, Awaitable, Callable, List, TypeVar

import coffer
import coffer.aio
import pytest
from coffer import Compare, EventKind, Get, Put
from coffer.aio import Store
from conftest import Left, Subject, eventually, resident_kb

T = TypeVar("T")


def run(subject: Subject, body: Callable[[Store], Awaitable[T]]) -> T:
    """Runs `body` with an open store."""

    async def main() -> T:
        async with await coffer.aio.open(subject.uri, **subject.options) as store:
            return await asyncio.wait_for(body(store), 120)

    return asyncio.run(main())


def test_both_surfaces_offer_the_same() -> None:
    pairs: List[Any] = [(getattr(coffer, name), getattr(coffer.aio, name)) for name in coffer.aio.__all__ if name != "Draft"]
    assert len(pairs) > 8
    for waiting, awaited in pairs:
        if inspect.isclass(waiting):
            public = [name for name in dir(waiting) if not name.startswith("_")]
            assert public == [name for name in dir(awaited) if not name.startswith("_")]
            for name in public:
                method, other = getattr(waiting, name), getattr(awaited, name)
                if inspect.isfunction(method):
                    assert [*inspect.signature(method).parameters] == [*inspect.signature(other).parameters], name


def test_keys(subject: Subject, name: str) -> None:
    async def body(store: Store) -> None:
        assert await store.get(name + "a") is None
        put = await store.put(name + "a", "1")
        kv = await store.get(name + "a")
        assert kv is not None and (kv.value, kv.mod_revision) == (b"1", put.revision)
        await asyncio.gather(*(store.put(f"{name}{i}", str(i)) for i in range(200)))
        assert await store.count(coffer.prefix(name)) == 201
        assert len([pair async for pair in store.range(coffer.prefix(name))]) == 201
        answer = await store.read(coffer.prefix(name), limit=1, descending=True)
        assert answer.more and answer.kvs[0].key == (name + "a").encode()
        taken = await store.txn().when(Compare.missing(name)).then(Put(name, "x")).otherwise(Get(name)).commit()
        assert taken.succeeded
        assert (await store.delete(coffer.prefix(name))).deleted == 202

    run(subject, body)


def test_pages(subject: Subject, name: str) -> None:
    async def body(store: Store) -> None:
        for i in range(200):
            await store.put(f"{name}{i:03}", b"x" * 10_000)
        pages = [page async for page in store.range(coffer.prefix(name)).pages()]
        assert sum(map(len, pages)) == 200 and len(pages) > 2
        async with store.range(coffer.prefix(name)) as pairs:
            await pairs.__anext__()
        assert len([pair async for pair in pairs]) < 199

    run(subject, body)


def test_updates_count_exactly(subject: Subject, name: str) -> None:
    async def body(store: Store) -> None:
        async def increment(draft: coffer.aio.Draft) -> int:
            count = int(await draft.get(name) or b"0") + 1
            draft.put(name, str(count))
            return count

        seen = await asyncio.gather(*(store.update(increment) for _ in range(20)))
        assert sorted(seen) == list(range(1, 21))

    run(subject, body)


async def values(watch: coffer.aio.Watch, count: int) -> List[bytes]:
    found: List[bytes] = []
    while len(found) < count:
        update = await watch.next(timeout=20)
        assert update is not None
        found.extend(event.kv.value for event in update.events)
    return found


def test_watches(subject: Subject, name: str) -> None:
    async def body(store: Store) -> None:
        async with await store.watch(coffer.prefix(name), previous=True) as watch:
            assert await watch.next(timeout=0.05) is None
            first = await store.put(name, "1")
            async for update in watch:
                event = update.events[0]
                assert (event.kind, event.kv.value, update.revision) == (EventKind.PUT, b"1", first.revision)
                break
            resume = watch.resume_revision
            assert resume == first.revision + 1
        await store.put(name, "2")
        async with await store.watch(name, start_revision=resume) as watch:
            assert await values(watch, 1) == [b"2"]
            waiter = asyncio.create_task(watch.next())
            await asyncio.sleep(0.02)
            with pytest.raises(coffer.BusyError):
                await watch.next()
            watch.close()
            assert await waiter is None
        assert watch.closed and [update async for update in watch] == []

    run(subject, body)


def test_a_cancelled_wait_loses_nothing(subject: Subject, name: str) -> None:
    async def body(store: Store) -> None:
        seen: List[bytes] = []
        async with await store.watch(coffer.prefix(name)) as watch:
            for i in range(20):
                waiter = asyncio.create_task(watch.next())
                await asyncio.sleep(0)
                waiter.cancel()
                await store.put(name, str(i))
                try:
                    update = await waiter
                    assert update is not None
                    seen.extend(event.kv.value for event in update.events)
                except asyncio.CancelledError:
                    pass
            assert len(seen) < 20, "some were cancelled while they waited"
            assert seen + await values(watch, 20 - len(seen)) == [str(i).encode() for i in range(20)]

    run(subject, body)


def test_who_does_not_read_costs_little(tmp_path: Path, name: str) -> None:
    """20 MB of events for a watch that nobody reads."""

    async def body(store: Store) -> None:
        value = b"x" * 100_000
        async with await store.watch(coffer.prefix(name)) as watch:
            await store.put(name, value)
            grown = resident_kb()
            for _ in range(200):
                await store.put(name, value)
                await store.compact((await store.status()).revision - 1)
            grown = resident_kb() - grown
            watch.close()
        assert grown < 100_000, f"{grown} KiB"

    run(Subject("segment", tmp_path), body)


def test_compacted_watches(tmp_path: Path, name: str) -> None:
    async def body(store: Store) -> None:
        for i in range(5):
            revision = (await store.put(name, str(i))).revision
        await store.compact(revision)
        with pytest.raises(coffer.CompactedError) as told:
            async with await store.watch(name, start_revision=2) as watch:
                await watch.next(timeout=20)
        assert told.value.compact_revision == revision

    run(Subject("mem", tmp_path), body)


def test_leases_and_locks(subject: Subject, name: str) -> None:
    async def body(store: Store) -> None:
        async with await store.session(10) as one, await store.session(10) as two:
            mine, theirs = one.lock(name), two.lock(name)
            fence = await mine.acquire()
            assert not await theirs.try_acquire()
            with pytest.raises(coffer.CallTimeoutError):
                await theirs.acquire(timeout=1)
            waiting = asyncio.create_task(theirs.acquire())
            await asyncio.sleep(0.05)
            await mine.release()
            assert await asyncio.wait_for(waiting, 30) > fence
            waiting = asyncio.create_task(mine.acquire())
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert await store.count(coffer.prefix(name)) == 1, "who was cancelled is not in line"
            await store.lease_revoke(two.lease)
            assert isinstance(await two.wait(30), coffer.LeaseNotFoundError) and two.lost is not None
            async with one.lock(name) as lock:
                assert (await store.commit(coffer.Txn().when(lock.held()))).succeeded

    run(subject, body)


def test_elections(subject: Subject, name: str) -> None:
    async def body(store: Store) -> None:
        async with await store.session(10) as one, await store.session(10) as two:
            leading, waiting = one.election(name), two.election(name)
            await leading.campaign("one")
            seen = waiting.observe()
            assert (await seen.__anext__()).value == b"one"
            await leading.proclaim("still one")
            assert (await seen.__anext__()).value == b"still one"
            campaign = asyncio.create_task(waiting.campaign("two"))
            await asyncio.sleep(0.05)
            await leading.resign()
            await asyncio.wait_for(campaign, 30)
            leader = await waiting.leader()
            assert leader is not None and leader.value == b"two" and leader.create_revision == waiting.fence
            assert (await seen.__anext__()).value == b"two"
            await seen.aclose()

    run(subject, body)


def test_the_whole_store(directory: Subject, tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        await store.put("a", "1")
        assert (await store.status()).keys == 1
        assert (await store.members())[0].leader
        assert (await store.hash_kv()).hash
        saved = await store.snapshot_save(tmp_path / "snapshot")
        assert saved.bytes == (tmp_path / "snapshot").stat().st_size
        coffer.generate_key(tmp_path / "second")
        added = await store.key_add(seal_key_file=tmp_path / "second")
        assert len(added.slots) == 2
        assert len((await store.key_remove(added.changed_id)).slots) == 1
        assert (await store.key_rotate_data()).changed_id
        await store.key_rotate_kek(seal_key_file=tmp_path / "second")
        assert len((await store.key_status()).data_keys) == 2
        lease = await store.lease_grant(30)
        assert (await store.lease_info(lease.id)).ttl_s > 0 and lease.id in await store.leases()
        assert (await store.lease_renew(lease.id)).ttl_s == 30

    run(directory, body)


def test_failures_are_raised(memory: coffer.Store, tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(coffer.CannotOpenError):
            await coffer.aio.open(f"file://{tmp_path}/new")
        store = await coffer.aio.open("mem:")
        with pytest.raises(coffer.LeaseNotFoundError):
            await store.lease_renew(1)
        with pytest.raises(coffer.RequestError):
            await store.put("", "x")
        keeper = store.keep_alive(77)
        assert isinstance(await keeper.wait(30), coffer.LeaseNotFoundError)
        keeper.close()
        watch = await store.watch("a")
        waiting = asyncio.create_task(watch.next())
        await asyncio.sleep(0)
        await store.close()
        with pytest.raises(coffer.StoppedError):
            await waiting
        with pytest.raises(coffer.ClosedError):
            await store.get("a")
        with pytest.raises(coffer.ClosedError):
            await store.watch("a")
        await store.close()

    asyncio.run(main())


def test_closing_ends_what_is_under_way() -> None:
    async def main() -> None:
        store = await coffer.aio.open("mem:")
        puts = [asyncio.create_task(store.put("a", str(i))) for i in range(100)]
        await asyncio.sleep(0)
        await store.close()
        for end in await asyncio.gather(*puts, return_exceptions=True):
            assert isinstance(end, (coffer.PutResult, coffer.StoppedError, coffer.OutcomeUnknownError, coffer.ClosedError)), end

    asyncio.run(main())


def test_cancelled_calls_leave_nothing_behind(tmp_path: Path) -> None:
    async def body(store: Store) -> None:
        for i in range(50):
            put = asyncio.create_task(store.put("a", str(i)))
            await asyncio.sleep(0)
            put.cancel()
            with pytest.raises(asyncio.CancelledError):
                await put
        assert (await store.put("a", "end")).revision
        await asyncio.sleep(0.05)
        assert store._calls._waiting == {}

    run(Subject("segment", tmp_path), body)


def test_opening_can_be_cancelled(directory: Subject) -> None:
    async def main() -> None:
        opening = asyncio.create_task(coffer.aio.open(directory.uri, **directory.options))
        await asyncio.sleep(0.001)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await asyncio.sleep(0.5)

    asyncio.run(main())

    def free() -> bool:
        try:
            directory.open().close()
            return True
        except coffer.CannotOpenError:
            return False

    assert eventually(free), "the store that nobody awaits is closed"


def test_nothing_is_left_after_close(subject: Subject, name: str) -> None:
    async def body(store: Store) -> None:
        watches = [await store.watch(name) for _ in range(100)]
        async with await store.session(10) as session, session.lock(name + "lock"):
            await store.put(name, "v")
            for update in await asyncio.gather(*(watch.next() for watch in watches)):
                assert update is not None
        assert [thread for thread in threading.enumerate() if thread.name == "coffer"] == []

    run(subject, body)
    left = Left()
    for _ in range(2):
        run(subject, body)
    left.check()


def test_a_store_that_is_not_closed_is_told(directory: Subject) -> None:
    async def main() -> None:
        await coffer.aio.open(directory.uri, **directory.options)

    with pytest.warns(ResourceWarning, match="not closed"):
        asyncio.run(main())
    directory.open().close()
