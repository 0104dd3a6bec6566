"""Keys, ranges and transactions, with every kind of store."""

from typing import List

import coffer
import pytest
from coffer import Compare, Delete, Get, Put, Txn
from conftest import Subject


def test_what_is_put_is_got(store: coffer.Store, name: str) -> None:
    assert store.get(name + "a") is None
    put = store.put(name + "a", "one")
    kv = store.get(name + "a")
    assert kv is not None
    assert kv == ((name + "a").encode(), b"one", put.revision, put.revision, 1, 0)
    again = store.put(name + "a", b"two", previous=True)
    assert again.revision > put.revision and again.previous == kv
    assert store.get(name + "a", revision=put.revision) == kv
    assert store.get(name + "a", serializable=True, timeout=5).value == b"two"  # type: ignore[union-attr]
    deleted = store.delete(name + "a", previous=True)
    assert (deleted.deleted, deleted.previous[0].value) == (1, b"two")
    assert store.get(name + "a") is None
    assert store.delete(name + "a").deleted == 0


@pytest.mark.parametrize("value", [b"", b"\0", b"\0a\0", bytes(range(256)), "Grüße, 世界 \0".encode(), b"x" * 1_000_000])
def test_keys_and_values_are_binary(store: coffer.Store, name: str, value: bytes) -> None:
    key = name.encode() + b"\0\xff" + value[:300]
    store.put(key, value)
    kv = store.get(key)
    assert kv is not None and (kv.key, kv.value) == (key, value)
    assert [pair.value for pair in store.range(coffer.prefix(name))] == [value]


def test_keys_and_values_are_bytes_or_text(store: coffer.Store, name: str) -> None:
    store.put(bytearray((name + "ä").encode()), memoryview(b"v"))
    kv = store.get(name + "ä")
    assert kv is not None and kv.value == b"v"
    with pytest.raises(TypeError):
        store.put(name, 5)  # type: ignore[arg-type]
    with pytest.raises(coffer.RequestError):
        store.put("", "empty key")


def fill(store: coffer.Store, name: str, count: int, value: bytes = b"v") -> List[bytes]:
    keys = [f"{name}{i:05}".encode() for i in range(count)]
    for start in range(0, count, 100):
        store.commit(Txn().then(*(Put(key, value) for key in keys[start : start + 100])))
    return keys


def test_a_range_is_read_in_pages_of_one_revision(store: coffer.Store, name: str) -> None:
    keys = fill(store, name, 300, b"x" * 10_000)
    pairs = store.range(coffer.prefix(name))
    assert next(pairs).key == keys[0]
    assert 0 < pairs.revision
    store.put(keys[-1], "too late")
    rest = [pair.key for pair in pairs if pair.value == b"x" * 10_000]
    assert rest == keys[1:]
    assert list(pairs) == []
    pages = list(store.range(coffer.prefix(name)).pages())
    assert [pair.key for page in pages for pair in page] == keys
    assert len(pages) > 3, "3 MB are more than a few pages"


def test_an_iterator_can_be_left(store: coffer.Store, name: str) -> None:
    fill(store, name, 200, b"x" * 10_000)
    with store.range(coffer.prefix(name)) as pairs:
        next(pairs)
    assert len(list(pairs)) < 199, "what was read already is still there, no more"
    for _ in store.range(coffer.prefix(name)):
        break


def test_ranges(store: coffer.Store, name: str) -> None:
    for letter in "abcd":
        store.put(name + letter, letter)

    def values(range: coffer.RangeLike) -> bytes:
        return b"".join(pair.value for pair in store.range(range))

    assert values(coffer.between(name + "b", name + "d")) == b"bc"
    assert values(coffer.prefix(name)) == b"abcd"
    assert values(name + "c") == b"c"
    assert values(coffer.at_or_after(name + "c"))[:2] == b"cd"
    assert b"abcd" in values(coffer.everything())
    assert store.count(coffer.prefix(name)) == 4
    assert [pair.value for pair in store.range(coffer.prefix(name), keys_only=True)] == [b""] * 4
    assert len(list(store.range(coffer.prefix(name), limit=2))) == 2


def test_one_answer_in_any_order(store: coffer.Store, name: str) -> None:
    revisions = [store.put(name + key, value).revision for key, value in [("a", "2"), ("b", "1"), ("c", "3")]]
    answer = store.read(coffer.prefix(name), sort=coffer.Sort.VALUE)
    assert [pair.value for pair in answer.kvs] == [b"1", b"2", b"3"]
    answer = store.read(coffer.prefix(name), descending=True, limit=2)
    assert [pair.value for pair in answer.kvs] == [b"3", b"1"]
    assert (answer.total, answer.more, answer.revision >= revisions[2]) == (3, True, True)
    answer = store.read(coffer.prefix(name), max_create_revision=revisions[1], min_mod_revision=revisions[1])
    assert [pair.value for pair in answer.kvs] == [b"1"]


def test_put_options(store: coffer.Store, name: str) -> None:
    lease = store.lease_grant(60).id
    store.put(name, "v", lease=lease)
    store.put(name, "w", keep_lease=True)
    kv = store.get(name)
    assert kv is not None and (kv.value, kv.lease) == (b"w", lease)
    store.put(name, "", keep_value=True)
    kv = store.get(name)
    assert kv is not None and (kv.value, kv.lease) == (b"w", 0)
    with pytest.raises(coffer.RequestError):
        store.put(name, "x", keep_value=True)
    store.lease_revoke(lease)


def test_a_transaction_takes_one_branch(store: coffer.Store, name: str) -> None:
    def attempt(who: str) -> coffer.TxnResult:
        txn = store.txn().when(Compare.missing(name)).then(Put(name, who)).otherwise(Get(name))
        return txn.commit()

    first = attempt("one")
    assert first.succeeded and first.results == [coffer.PutResult(first.revision, None)]
    second = attempt("two")
    assert not second.succeeded
    answer = second.results[0]
    assert isinstance(answer, coffer.RangeResult) and answer.kvs[0].value == b"one"


def test_conditions(store: coffer.Store, name: str) -> None:
    revision = store.put(name + "a", "5").revision
    store.put(name + "b", "7")

    def holds(*conditions: Compare) -> bool:
        return store.commit(Txn().when(*conditions)).succeeded

    assert holds(Compare.exists(name + "a"), Compare.missing(name + "c"))
    assert holds(Compare.value(name + "a").equals("5"), Compare.value(name + "a").above("4"))
    assert not holds(Compare.value(name + "a").differs_from("5"))
    assert holds(Compare.version(name + "a").equals(1), Compare.created(name + "a").equals(revision))
    assert holds(Compare.modified(name + "a").below(revision + 1), Compare.lease(name + "a").equals(0))
    assert holds(Compare.value(coffer.prefix(name)).above("4"))
    assert not holds(Compare.value(coffer.prefix(name)).above("5"))
    assert not holds(Compare.value(name + "c").below("5")), "what is missing has no value"
    with pytest.raises(TypeError):
        Compare.version(name).equals("5")  # type: ignore[arg-type]


def test_transactions_nest(store: coffer.Store, name: str) -> None:
    inner = Txn().when(Compare.exists(name)).then(Delete(name)).otherwise(Put(name, "inner"))
    outer = Txn().then(Put(name + "outer", "x", previous=True), inner, Get(coffer.prefix(name)))
    answer = store.commit(outer)
    nested, seen = answer.results[1:]
    assert isinstance(nested, coffer.TxnResult) and not nested.succeeded
    assert isinstance(seen, coffer.RangeResult) and len(seen.kvs) == 2
    again = store.commit(outer)
    put, nested, seen = again.results
    assert isinstance(put, coffer.PutResult) and put.previous is not None and put.previous.value == b"x"
    assert isinstance(nested, coffer.TxnResult) and nested.succeeded
    assert nested.results == [coffer.DeleteResult(again.revision, 1, [])]
    with pytest.raises(coffer.RequestError):
        store.commit(Txn().then(Put(name, "a"), Put(name, "b")))


def test_an_update_counts_exactly(subject: Subject, name: str) -> None:
    """Threads that increment one counter lose nothing."""
    from concurrent.futures import ThreadPoolExecutor

    def increment(draft: coffer.Draft) -> int:
        count = int(draft.get(name) or b"0") + 1
        draft.put(name, str(count))
        return count

    with subject.open() as store, ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: store.update(increment), range(80)))
        assert sorted(seen) == list(range(1, 81))
        kv = store.get(name)
        assert kv is not None and kv.value == b"80"


def test_an_update_sees_one_revision(store: coffer.Store, name: str) -> None:
    store.put(name + "a", "1")
    store.put(name + "b", "1")
    attempts: List[int] = []

    def move(draft: coffer.Draft) -> None:
        a = draft.get(name + "a")
        if not attempts:
            # Somebody comes between: what is read afterwards is still of the first revision, and the attempt is in vain.
            store.commit(Txn().then(Put(name + "a", "2"), Put(name + "b", "2")))
        attempts.append(1)
        assert draft.get(name + "b") == a
        draft.put(name + "a", "moved")
        assert draft.get(name + "a") == b"moved"
        draft.delete(name + "b")
        assert draft.get(name + "b") is None

    store.update(move)
    assert len(attempts) == 2
    assert [pair.value for pair in store.range(coffer.prefix(name))] == [b"moved"]


def test_an_update_may_only_read_or_fail(store: coffer.Store, name: str) -> None:
    assert store.update(lambda draft: draft.get(name)) is None

    def refuse(draft: coffer.Draft) -> None:
        draft.put(name, "x")
        raise KeyError("no")

    with pytest.raises(KeyError):
        store.update(refuse)
    assert store.get(name) is None

    def never(draft: coffer.Draft) -> None:
        draft.put(name, (draft.get(name) or b"") + b"x")
        store.put(name, "other")

    # The time may be up while an attempt is being committed, in vain: the answer to that did not come.
    with pytest.raises((coffer.CallTimeoutError, coffer.OutcomeUnknownError)):
        store.update(never, timeout=0.3)


def test_nothing_shows_keys_or_values(store: coffer.Store, name: str) -> None:
    store.put(name + "secret", "geheim")
    kv = store.get(name + "secret")
    shown = [repr(it) for it in (kv, Put(name, "geheim"), Compare.value(name).equals("geheim"), coffer.prefix(name))]
    shown.append(repr(store.read(coffer.prefix(name))))
    with pytest.raises(coffer.Error) as refused:
        store.put(name + "secret", "geheim", keep_value=True)
    shown.append(str(refused.value))
    for text in shown:
        assert "geheim" not in text and "secret" not in text, text
