"""Leases, locks and elections, with every kind of store."""

import threading
from typing import List

import coffer
import pytest
from coffer import Put, Txn
from conftest import eventually


def test_a_lease_ends_with_its_keys(store: coffer.Store, name: str) -> None:
    lease = store.lease_grant(60)
    assert lease.ttl_s == 60
    store.put(name, "v", lease=lease.id)
    info = store.lease_info(lease.id, keys=True)
    assert info.keys == [name.encode()] and 0 < info.ttl_s <= info.granted_ttl_s == 60
    assert lease.id in store.leases()
    assert store.lease_renew(lease.id).ttl_s == 60
    store.lease_revoke(lease.id)
    assert store.get(name) is None
    assert store.lease_info(lease.id).ttl_s == -1
    with pytest.raises(coffer.LeaseNotFoundError):
        store.lease_renew(lease.id)
    with pytest.raises(coffer.LeaseNotFoundError):
        store.put(name, "v", lease=lease.id)


def test_a_lease_may_have_a_chosen_id(memory: coffer.Store) -> None:
    assert memory.lease_grant(60, lease=4711).id == 4711
    with pytest.raises(coffer.LeaseExistsError):
        memory.lease_grant(60, lease=4711)


def test_a_lease_runs_out(store: coffer.Store, name: str) -> None:
    lease = store.lease_grant(1)
    store.put(name, "v", lease=lease.id)
    with store.watch(name, puts=False) as watch:
        assert watch.next(timeout=30) is not None
    assert store.get(name) is None


def test_a_keeper_keeps_a_lease(store: coffer.Store, name: str) -> None:
    lease = store.lease_grant(1)
    store.put(name, "v", lease=lease.id)
    with store.keep_alive(lease.id) as keeper:
        assert keeper.wait(timeout=lease.ttl_s * 2.5) is None
        assert keeper.lost is None and store.get(name) is not None
    assert eventually(lambda: store.get(name) is None, 30)


def test_a_lost_lease_is_told(store: coffer.Store) -> None:
    lease = store.lease_grant(3)
    with store.keep_alive(lease.id) as keeper:
        store.lease_revoke(lease.id)
        why = keeper.wait(timeout=30)
        assert isinstance(why, coffer.LeaseNotFoundError)
        assert keeper.lost is why and keeper.wait() is why


def test_a_lock_is_held_by_one(store: coffer.Store, name: str) -> None:
    with store.session(10) as one, store.session(10) as two:
        mine, theirs = one.lock(name), two.lock(name)
        fence = mine.acquire()
        assert mine.acquired and mine.fence == fence and mine.acquire() == fence
        assert mine.key == name.encode() + b"/%x" % one.lease, "as etcd's concurrency package names it"
        assert not theirs.try_acquire() and not theirs.acquired
        with pytest.raises(coffer.CallTimeoutError):
            theirs.acquire(timeout=1)
        assert store.count(coffer.prefix(name)) == 1, "who gave up is not in line"
        mine.release()
        assert theirs.try_acquire() and theirs.fence > fence
    assert store.count(coffer.prefix(name)) == 0


def test_fencing_tokens_grow_and_nothing_overlaps(store: coffer.Store, name: str) -> None:
    fences: List[int] = []
    inside = threading.Lock()

    def work() -> None:
        with store.session(10) as session:
            for _ in range(3):
                with session.lock(name) as lock:
                    assert inside.acquire(blocking=False), "two are inside"
                    fences.append(lock.fence)
                    inside.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(fences) == 12 and fences == sorted(set(fences))


def test_who_lost_its_lock_cannot_write(store: coffer.Store, name: str) -> None:
    with store.session(10) as session:
        lock = session.lock(name)
        lock.acquire()
        assert store.commit(Txn().when(lock.held()).then(Put(name + "data", "1"))).succeeded
        store.lease_revoke(session.lease)
        assert not store.commit(Txn().when(lock.held()).then(Put(name + "data", "2"))).succeeded
        assert isinstance(session.wait(30), coffer.LeaseNotFoundError)


def test_who_waits_is_told_of_a_lost_session(store: coffer.Store, name: str) -> None:
    with store.session(10) as one, store.session(3) as two:
        one.lock(name).acquire()
        threading.Timer(0.2, lambda: store.lease_revoke(two.lease)).start()
        with pytest.raises(coffer.LeaseNotFoundError):
            two.lock(name).acquire(timeout=30)


def test_who_hangs_loses_the_lock(store: coffer.Store, name: str) -> None:
    with store.session(1) as one, store.session(10) as two:
        fence = one.lock(name).acquire()
        one.orphan()
        assert two.lock(name).acquire(timeout=30) > fence


def test_elections(store: coffer.Store, name: str) -> None:
    with store.session(10) as one, store.session(10) as two:
        leading, waiting = one.election(name), two.election(name)
        assert waiting.leader() is None
        fence = leading.campaign("one")
        seen = waiting.observe()
        assert next(seen).value == b"one"
        leading.proclaim("still one")
        assert next(seen).value == b"still one"
        with pytest.raises(coffer.CallTimeoutError):
            waiting.campaign("two", timeout=1)
        resigning = threading.Timer(0.2, leading.resign)
        resigning.start()
        assert waiting.campaign("two", timeout=30) > fence
        resigning.join()
        leader = next(pair for pair in seen if pair.value == b"two")
        assert leader.create_revision == waiting.fence and waiting.leads
        assert waiting.leader() == leader
        with pytest.raises(coffer.InvalidArgumentError):
            leading.proclaim("no more")
        seen.close()  # type: ignore[attr-defined]


def test_a_session_may_take_over_a_lease(memory: coffer.Store, name: str) -> None:
    lease = memory.lease_grant(10).id
    session = memory.session(lease=lease)
    assert session.lease == lease
    session.close()
    session.close()
    assert memory.leases() == []
    assert isinstance(memory.session(lease=lease).wait(timeout=30), coffer.LeaseNotFoundError)
