"""Watches, with every kind of store."""

import threading
import time
from typing import List

import coffer
import pytest
from coffer import EventKind, Put, Txn
from conftest import Subject, eventually


def values(watch: coffer.Watch, count: int) -> List[bytes]:
    """The values of the next events."""
    found: List[bytes] = []
    while len(found) < count:
        update = watch.next(timeout=20)
        assert update is not None, f"only {len(found)} of {count} events came"
        found.extend(event.kv.value for event in update.events)
    return found


def test_a_watch_sees_what_happens(store: coffer.Store, name: str) -> None:
    with store.watch(coffer.prefix(name), previous=True) as watch:
        assert watch.next(timeout=0) is None
        put = store.put(name + "a", "1")
        update = next(watch)
        event = update.events[0]
        assert (event.kind, event.kv.value, event.previous, update.revision) == (EventKind.PUT, b"1", None, put.revision)
        # An update may carry several revisions: not before the first was told.
        store.delete(name + "a")
        event = next(watch).events[0]
        assert event.kind is EventKind.DELETE and event.kv.mod_revision == put.revision + 1
        assert event.previous is not None and event.previous.value == b"1"
    assert watch.closed and list(watch) == []


def test_a_revision_comes_as_a_whole(store: coffer.Store, name: str) -> None:
    with store.watch(coffer.prefix(name)) as watch:
        store.commit(Txn().then(*(Put(f"{name}{i}", "v") for i in range(50))))
        assert len(next(watch).events) == 50


def test_a_large_revision_comes_in_fragments(memory: coffer.Store, name: str) -> None:
    """Who stopped amid them begins with the whole revision again."""
    for i in range(200):
        memory.put(f"{name}{i}", b"x" * 100_000)
    with memory.watch(coffer.prefix(name), previous=True) as watch:
        deleted = memory.delete(coffer.prefix(name))
        updates = [next(watch)]
        while updates[-1].fragment:
            assert watch.resume_revision == deleted.revision
            updates.append(next(watch))
        assert len(updates) > 1 and sum(len(update.events) for update in updates) == deleted.deleted == 200
        assert {update.revision for update in updates} == {deleted.revision}
        assert watch.resume_revision == deleted.revision + 1


def test_kinds_can_be_left_out(store: coffer.Store, name: str) -> None:
    with store.watch(name, puts=False) as deletes, store.watch(name, deletes=False) as puts:
        store.put(name, "1")
        store.delete(name)
        store.put(name, "2")
        assert next(deletes).events[0].kind is EventKind.DELETE
        assert values(puts, 2) == [b"1", b"2"]


def test_a_watch_goes_on_where_another_one_was(store: coffer.Store, name: str) -> None:
    first = store.put(name, "1").revision
    with store.watch(name, start_revision=first) as watch:
        assert watch.resume_revision == first
        assert values(watch, 1) == [b"1"]
        resume = watch.resume_revision
    store.put(name, "2")
    with store.watch(name, start_revision=resume) as watch:
        assert values(watch, 1) == [b"2"]


def test_a_watch_resumes_across_a_restart(directory: Subject, name: str) -> None:
    with directory.open() as store:
        watch = store.watch(name)
        store.put(name, "1")
        assert values(watch, 1) == [b"1"]
        store.put(name, "2")
    with pytest.raises(coffer.StoppedError):
        for _ in watch:
            pass
    with directory.open() as store:
        resumed = store.watch(name, start_revision=watch.resume_revision)
        store.put(name, "3")
        seen = [b"2", b"3"] if watch.resume_revision == 3 else [b"3"]
        assert values(resumed, len(seen)) == seen
        resumed.close()


def test_progress_is_told(memory: coffer.Store, name: str) -> None:
    revision = memory.put("elsewhere", "x").revision
    with memory.watch(name) as watch:
        watch.request_progress()
        update = watch.next(timeout=20)
        assert update is not None and update.events == [] and update.revision >= revision
        assert watch.resume_revision == update.revision + 1


def test_a_compacted_past_is_told(memory: coffer.Store, name: str) -> None:
    revision = [memory.put(name, str(i)).revision for i in range(10)][-1]
    memory.compact(revision)
    with pytest.raises(coffer.CompactedError) as told:
        with memory.watch(name, start_revision=2) as watch:
            next(watch)
    assert told.value.compact_revision == revision
    assert "COFFER_COMPACTED" == told.value.name and not told.value.retryable
    with memory.watch(name, start_revision=told.value.compact_revision) as watch:
        assert values(watch, 1) == [b"9"]


def test_closing_ends_a_wait(memory: coffer.Store) -> None:
    watch = memory.watch("a")
    ended: List[List[coffer.Update]] = []
    waiter = threading.Thread(target=lambda: ended.append(list(watch)))
    waiter.start()
    time.sleep(0.05)
    watch.close()
    waiter.join(20)
    assert ended == [[]]


def test_closing_the_store_ends_a_wait() -> None:
    store = coffer.open("mem:")
    watch = store.watch("a")
    failures: List[BaseException] = []

    def wait() -> None:
        try:
            next(watch)
        except coffer.Error as error:
            failures.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.05)
    store.close()
    waiter.join(20)
    assert [type(failure) for failure in failures] == [coffer.StoppedError]


def test_a_hundred_watches_are_no_threads(memory: coffer.Store, nothing_left: None, name: str) -> None:
    watches = [memory.watch(f"{name}{i}") for i in range(100)]
    for i in range(100):
        memory.put(f"{name}{i}", str(i))
    for i, watch in enumerate(watches):
        assert values(watch, 1) == [str(i).encode()]
        watch.close()


def test_a_watch_that_is_dropped_is_closed(memory: coffer.Store) -> None:
    watch = memory.watch("a")
    assert memory.status().watchers == 1
    del watch
    assert eventually(lambda: memory.status().watchers == 0)
