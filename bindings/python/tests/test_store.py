"""The whole store: opening, closing, keys, snapshots, errors, threads, processes."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Callable, List

import coffer
import pytest
from conftest import Left, Subject, eventually, resident_kb


def test_a_closed_store_says_so(subject: Subject) -> None:
    store = subject.open()
    pairs = store.range(coffer.everything())
    store.close()
    store.close()
    assert store.closed
    with pytest.raises(coffer.ClosedError) as closed:
        store.get("a")
    assert (closed.value.name, closed.value.retryable, closed.value.maybe_committed) == ("COFFER_BAD_HANDLE", False, False)
    for call in (lambda: store.put("a", "b"), store.status, lambda: store.watch("a"), lambda: store.session(5)):
        with pytest.raises(coffer.Error):
            call()
    with pytest.raises(coffer.Error):
        next(pairs)


def test_nothing_is_left_after_close(subject: Subject, name: str) -> None:
    """Of a remote store the library keeps a helper thread for the process: so it is opened once before."""
    for _ in range(2):
        with subject.open() as store:
            store.put(name, "v")
    left = Left()
    for _ in range(3):
        with subject.open() as store:
            watches = [store.watch(name) for _ in range(10)]
            with store.session(10) as session, session.lock(name):
                store.put(name, "v")
                for watch in watches:
                    assert watch.next(timeout=20) is not None
            pairs = store.range(coffer.everything())
            next(pairs)
            keeper = store.keep_alive(store.lease_grant(10).id)
    assert keeper.wait(timeout=10) is not None or keeper.closed
    del watches, watch, pairs, keeper
    left.check()


def test_what_was_stored_is_there_after_a_restart(directory: Subject) -> None:
    with directory.open() as store:
        for i in range(100):
            store.put(f"key/{i:03}", os.urandom(100) + b"\0" + str(i).encode())
        hash = store.hash_kv()
        lease = store.lease_grant(600).id
    with directory.open() as store:
        assert store.hash_kv(hash.revision).hash == hash.hash
        assert store.count(coffer.everything()) == 100
        assert lease in store.leases()


def test_nothing_is_on_the_disk_in_the_clear(directory: Subject) -> None:
    with directory.open() as store:
        store.put("a-telling-key", "a-telling-value")
    files = [path for path in directory.directory.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert b"telling" not in path.read_bytes(), path


def test_a_store_is_opened_once(directory: Subject) -> None:
    with directory.open():
        with pytest.raises(coffer.CannotOpenError) as refused:
            directory.open()
        assert str(os.getpid()) in str(refused.value)
        program = (
            "import coffer, sys\n"
            f"try: coffer.open({directory.uri!r}, seal_key_file={str(directory.options['seal_key_file'])!r})\n"
            "except coffer.CannotOpenError as error: sys.exit(str(error))\n"
        )
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        assert other.returncode == 1 and str(os.getpid()) in other.stderr


def test_a_wrong_key_opens_nothing(directory: Subject, tmp_path: Path) -> None:
    directory.open().close()
    coffer.generate_key(tmp_path / "other")
    with pytest.raises(coffer.CannotOpenError):
        coffer.open(directory.uri, seal_key_file=tmp_path / "other")
    with pytest.raises(coffer.CannotOpenError):
        coffer.open(directory.uri)
    with pytest.raises(coffer.CannotOpenError):
        coffer.open(f"file://{tmp_path}/new")
    with pytest.raises(coffer.CannotOpenError):
        coffer.generate_key(tmp_path / "other")


def test_options_are_checked(tmp_path: Path) -> None:
    coffer.check_options(command_timeout=timedelta(seconds=5), max_txn_ops=10, create=True, quota_backend_bytes="2GiB")
    for options in ({"no_such_option": 1}, {"max_txn_ops": "many"}, {"create": "perhaps"}):
        with pytest.raises(coffer.InvalidArgumentError):
            coffer.check_options(**options)
    with pytest.raises(ValueError):
        coffer.open("nowhere://")
    with pytest.raises(ValueError):
        coffer.open("mem:\0")
    with coffer.open(f"file://{tmp_path}/clear", unsealed=True) as store:
        assert not store.status().sealed
    with coffer.open("mem:", max_txn_ops=2) as store:
        with pytest.raises(coffer.RequestError) as refused:
            store.commit(coffer.Txn().then(*(coffer.Put(str(i), "") for i in range(3))))
        assert refused.value.name == "COFFER_TOO_MANY_OPS"


def test_status(subject: Subject, name: str) -> None:
    with subject.open() as store:
        revision = store.put(name, "v").revision
        status = store.status()
        assert status.revision >= revision and status.leader and status.version and status.errors == []
        if subject.kind != "remote":
            backend = {"mem": "memory"}.get(subject.kind, subject.kind)
            assert (status.backend, status.keys, status.version) == (backend, 1, coffer.version())
            assert status.sealed == subject.durable
        members = store.members()
        assert [member.leader for member in members].count(True) == 1
        assert status.member_id in [member.id for member in members]
        assert store.hash_kv().revision >= revision


def test_compaction(memory: coffer.Store) -> None:
    first = memory.put("a", "1").revision
    second = memory.put("a", "2").revision
    memory.compact(second, physical=True)
    with pytest.raises(coffer.CompactedError) as told:
        memory.get("a", revision=first)
    assert told.value.compact_revision == second
    with pytest.raises(coffer.FutureRevisionError):
        memory.get("a", revision=second + 1)
    assert memory.status().compact_revision == second


def test_snapshots(directory: Subject, tmp_path: Path) -> None:
    key = directory.options["seal_key_file"]
    with directory.open() as store:
        store.put("a", "1")
        saved = store.snapshot_save(tmp_path / "snapshot")
        store.put("a", "2")
        assert saved.sealed and saved.revision == store.status().revision - 1
        with pytest.raises(coffer.CannotOpenError):
            store.snapshot_save(tmp_path / "snapshot")
    status = coffer.snapshot_status(tmp_path / "snapshot", seal_key_file=key)
    assert (status.revision, status.sealed) == (saved.revision, True)
    assert [slot.kind for slot in status.slots] == ["key-file"]
    with pytest.raises(coffer.CannotOpenError):
        coffer.snapshot_status(tmp_path / "snapshot")
    restored = coffer.snapshot_restore(tmp_path / "snapshot", tmp_path / "restored", seal_key_file=key)
    assert restored.keys == 1 and restored.cluster_id != saved.cluster_id
    with coffer.open(f"file://{tmp_path}/restored", seal_key_file=key) as store:
        kv = store.get("a")
        assert kv is not None and kv.value == b"1"
        assert store.hash_kv().hash == restored.hash
    damaged = bytearray((tmp_path / "snapshot").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    with pytest.raises(coffer.DamagedError):
        coffer.snapshot_status(tmp_path / "damaged", seal_key_file=key)


def test_keys_are_exchanged_while_the_store_is_used(directory: Subject, tmp_path: Path) -> None:
    second = tmp_path / "second"
    coffer.generate_key(second)
    with directory.open() as store:
        writes = [0]
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                store.put("a", str(writes[0]))
                writes[0] += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            before = store.key_status()
            assert len(before.slots) == 1 and before.slots[0].kind == "key-file"
            added = store.key_add("spare", seal_key_file=second)
            assert {slot.label for slot in added.slots if slot.id == added.changed_id} == {"spare"}
            rotated = store.key_rotate_data(rewrite=True)
            assert [key.id for key in rotated.data_keys if key.active] == [rotated.changed_id]
            removed = store.key_remove(before.slots[0].id)
            assert [slot.label for slot in removed.slots] == ["spare"]
            third = tmp_path / "third"
            coffer.generate_key(third)
            store.key_rotate_kek(removed.slots[0].id, seal_key_file=third)
            assert eventually(lambda: not store.key_status().rewriting)
        finally:
            stop.set()
            writer.join()
        assert writes[0] > 0
    for key in (directory.options["seal_key_file"], second):
        with pytest.raises(coffer.CannotOpenError):
            coffer.open(directory.uri, seal_key_file=key)
    with coffer.open(directory.uri, seal_key_file=third) as store:
        kv = store.get("a")
        assert kv is not None and kv.value == str(writes[0] - 1).encode()


def test_a_store_in_memory_has_no_keys(memory: coffer.Store) -> None:
    with pytest.raises(coffer.UnsupportedError):
        memory.key_status()


def test_many_threads_share_a_store(subject: Subject, name: str) -> None:
    """The interpreter is not held while a call waits: a slow one keeps nobody."""
    with subject.open() as store, ThreadPoolExecutor(16) as pool:

        def work(i: int) -> bytes:
            store.put(f"{name}{i}", str(i))
            kv = store.get(f"{name}{i}")
            assert kv is not None
            return kv.value

        assert list(pool.map(work, range(400))) == [str(i).encode() for i in range(400)]
        assert store.count(coffer.prefix(name)) == 400


def test_closing_meets_every_call(subject: Subject, name: str) -> None:
    """Threads that call whatever there is while the store is closed are told, and nothing worse happens."""
    for _ in range(5):
        store = subject.open()
        calls: List[Callable[[], object]] = [
            lambda: store.put(name, "v"),
            lambda: store.get(name),
            lambda: list(store.range(coffer.everything(), limit=50)),
            lambda: store.watch(name).next(timeout=0.05),
            lambda: store.commit(coffer.Txn().then(coffer.Put(name, "t"), coffer.Get(name))),
            lambda: store.lease_revoke(store.lease_grant(20).id),
            lambda: store.session(10).close(),
            store.status,
        ]
        failures: List[BaseException] = []

        def use(call: Callable[[], object]) -> None:
            try:
                while True:
                    call()
            except coffer.Error as error:
                failures.append(error)

        users = [threading.Thread(target=use, args=(call,)) for call in calls]
        for user in users:
            user.start()
        time.sleep(0.1)
        store.close()
        for user in users:
            user.join(60)
        assert len(failures) == len(calls), "every call has an end"


def test_answers_are_freed(memory: coffer.Store) -> None:
    memory.put("a", b"x" * 100_000)

    def use(count: int) -> None:
        for _ in range(count):
            memory.get("a")
            list(memory.range("a"))
            memory.read("a")
            with pytest.raises(coffer.Error):
                memory.lease_renew(1)

    use(100)
    before = resident_kb()
    use(1000)
    assert resident_kb() - before < 50_000, "300 MB went by"


def test_others_run_while_a_call_waits(memory: coffer.Store) -> None:
    watch = memory.watch("a")
    waiter = threading.Thread(target=lambda: watch.next(timeout=2))
    began = time.monotonic()
    waiter.start()
    for i in range(100):
        memory.put("b", str(i))
    assert time.monotonic() - began < 1.5
    memory.put("a", "x")
    waiter.join()
    watch.close()


def test_an_interrupt_ends_a_wait(memory: coffer.Store) -> None:
    # Whoever starts the tests in the background of a shell has them ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    watch = memory.watch("a")
    threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        watch.next(timeout=20)
    memory.put("a", "1")
    assert watch.next(timeout=20) is not None, "the watch is still good"
    watch.close()


def test_a_timeout_is_told() -> None:
    """A port that nobody listens at."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(coffer.RetryableError) as refused:
        coffer.open(f"coffer://127.0.0.1:{port}", command_timeout="300ms")
    assert refused.value.retryable and not refused.value.maybe_committed
    assert isinstance(refused.value, (ConnectionError, TimeoutError))


def test_errors_can_be_pickled(memory: coffer.Store) -> None:
    with pytest.raises(coffer.LeaseNotFoundError) as raised:
        memory.lease_renew(12345)
    copy = pickle.loads(pickle.dumps(raised.value))
    assert type(copy) is coffer.LeaseNotFoundError
    assert (str(copy), copy.status, copy.context) == (str(raised.value), raised.value.status, raised.value.context)
    assert copy.context == "coffer_lease_renew" and copy.name == "COFFER_LEASE_NOT_FOUND"


def test_every_status_has_an_exception_of_its_group() -> None:
    from coffer import errors
    from coffer._native import lib

    groups = [None, "RequestError", "AuthenticationError", "RetryableError", "OutcomeUnknownError"]
    groups += ["StoreFailedError", "DamagedError"]
    statuses: List[int] = []
    for name in dir(lib):
        value = getattr(lib, name)
        if name.startswith("COFFER_") and isinstance(value, int) and value >= 100:
            statuses.append(value)
            error = errors.make(value)
            assert error.name == name and isinstance(error, getattr(coffer, str(groups[value // 100])))
    assert len(statuses) > 35


def in_child(store: coffer.Store, directory: str, results: "multiprocessing.queues.Queue[str]") -> None:
    for call in (lambda: store.get("a"), lambda: coffer.open("mem:"), store.close):
        try:
            call()
            results.put("no error")
        except coffer.Error as error:
            results.put(f"{type(error).__name__} {error.name}")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_is_told(directory: Subject) -> None:
    context = multiprocessing.get_context("fork")
    with directory.open() as store:
        store.put("a", "1")
        results = context.Queue()
        child = context.Process(target=in_child, args=(store, directory.uri, results))
        child.start()
        said = [results.get(timeout=30) for _ in range(3)]
        child.join(30)
        results.close()
        results.join_thread()
        assert child.exitcode == 0
        assert said == ["ForkedError COFFER_FORKED"] * 3
        kv = store.get("a")
        assert kv is not None and kv.value == b"1", "the parent goes on"


def test_a_spawned_process_is_not(directory: Subject) -> None:
    with coffer.open("mem:"):
        program = "import coffer\nwith coffer.open('mem:') as store: store.put('a', 'b')"
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_store_that_is_not_closed_is_told(directory: Subject) -> None:
    with pytest.warns(ResourceWarning, match="not closed"):
        store = directory.open()
        del store
    directory.open().close()
