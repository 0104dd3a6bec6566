"""The Python runner: reads commands from standard input, one a line, and answers each on standard output.

README.md, one folder up, says which commands there are and how words are written.
"""

import itertools
import re
import sys
import threading
from typing import Callable

import coffer
from coffer import Compare, Delete, EventKind, Get, KeyValue, Put, Txn, prefix

LOCK_TTL_S = 10
MASK = (1 << 64) - 1
PLAIN = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz/._~-")


def decode(word: str) -> bytes:
    """`@LENGTH:SEED` stands for so many bytes, `%XX` for one, a lone `%` for none."""
    pattern = re.fullmatch(r"@(\d+):(\d+)", word)
    if pattern:
        length, state = int(pattern[1]), int(pattern[2])
        made = bytearray(length)
        for place in range(length):
            state = (state * 6364136223846793005 + 1442695040888963407) & MASK
            made[place] = state >> 56
        return bytes(made)
    if word == "%":
        return b""
    return re.sub(rb"%(..)", lambda found: bytes([int(found[1], 16)]), word.encode())


class Digest:
    """FNV-1a over everything that was added."""

    def __init__(self) -> None:
        self.sum = 14695981039346656037

    def add(self, data: bytes) -> None:
        total = self.sum
        for byte in data:
            total = ((total ^ byte) * 1099511628211) & MASK
        self.sum = total

    def __str__(self) -> str:
        return f"{self.sum:016x}"


def encode(data: bytes) -> str:
    """The other way; what is long is written as length and digest."""
    if len(data) > 256:
        digest = Digest()
        digest.add(data)
        return f"#{len(data)}:{digest}"
    if not data:
        return "%"
    return "".join(chr(byte) if byte in PLAIN else f"%{byte:02X}" for byte in data)


def one_more(kv: "KeyValue | bytes | None") -> bytes:
    """The number after the one under a key."""
    value = kv.value if isinstance(kv, KeyValue) else kv
    return b"%d" % (int(value or b"0") + 1)


class Runner:
    """Carries commands out: each is a method, with `_` for `-`, and gets its words as bytes."""

    def __init__(self) -> None:
        self.store: "coffer.Store | None" = None
        self.draft = Txn()
        self.watching: "coffer.Watch | None" = None
        self.events: "list[coffer.Event]" = []
        self.keeper: "coffer.Keeper | None" = None
        self.session: "coffer.Session | None" = None
        self.held: "coffer.Lock | None" = None
        self.jobs: "list[tuple[threading.Thread, list[coffer.Error]]]" = []

    def run(self, line: str) -> str:
        command, *words = line.split(" ")
        method = getattr(self, "do_" + command.replace("-", "_"), None)
        if method is None:
            return "error UNKNOWN_COMMAND"
        try:
            return method(*map(decode, words)) or "ok"
        except coffer.Error as error:
            print(f"{command}: {error}", file=sys.stderr)
            return "error " + error.name.replace("COFFER_", "", 1)

    def do_open(self, uri: bytes, *options: bytes) -> None:
        pairs = (option.decode().split("=", 1) for option in options)
        self.store = coffer.open(uri.decode(), **{name.replace("-", "_"): value for name, value in pairs})

    def do_close(self) -> None:
        self.store.close()

    def do_put(self, key: bytes, value: bytes, lease: bytes = b"0") -> str:
        return f"ok {self.store.put(key, value, lease=int(lease)).revision}"

    def do_swap(self, key: bytes, value: bytes) -> str:
        done = self.store.put(key, value, previous=True)
        return f"ok {done.revision} {encode(done.previous.value) if done.previous else 'none'}"

    def do_get(self, key: bytes, revision: bytes = b"0") -> str:
        kv = self.store.get(key, revision=int(revision))
        if kv is None:
            return "none"
        return f"{encode(kv.value)} {kv.create_revision} {kv.mod_revision} {kv.version} {kv.lease}"

    def do_range(self, start: bytes, limit: bytes = b"0") -> str:
        found = self.store.read(prefix(start), limit=int(limit))
        pairs = "".join(f"{encode(kv.key)} {encode(kv.value)}\n" for kv in found.kvs)
        return f"{pairs}end {found.total} {'more' if found.more else 'all'}"

    def do_scan(self, start: bytes) -> str:
        digest, keys = Digest(), 0
        for kv in self.store.range(prefix(start)):
            digest.add(kv.key)
            digest.add(kv.value)
            keys += 1
        return f"end {keys} {digest}"

    def do_delete(self, key: bytes) -> str:
        return self.deleted(self.store.delete(key))

    def do_delete_prefix(self, start: bytes) -> str:
        return self.deleted(self.store.delete(prefix(start)))

    @staticmethod
    def deleted(done: coffer.DeleteResult) -> str:
        return f"ok {done.revision} {done.deleted}"

    def do_txn(self) -> None:
        self.draft = Txn()

    def do_if(self, key: bytes, target: bytes, relation: bytes, given: bytes) -> None:
        names = {"create": "created", "mod": "modified"}
        field = getattr(Compare, names.get(target.decode(), target.decode()))(key)
        relations = {b"=": field.equals, b"!": field.differs_from, b">": field.above, b"<": field.below}
        self.draft.when(relations[relation](given if target == b"value" else int(given)))

    def do_then(self, *words: bytes) -> None:
        self.draft.then(self.operation(*words))

    def do_else(self, *words: bytes) -> None:
        self.draft.otherwise(self.operation(*words))

    @staticmethod
    def operation(kind: bytes, *words: bytes) -> coffer.Operation:
        return {b"put": Put, b"get": Get, b"delete": Delete}[kind](*words)

    def do_commit(self) -> str:
        done = self.store.commit(self.draft)
        lines = [f"{'yes' if done.succeeded else 'no'} {done.revision}"]
        for part in done.results:
            if isinstance(part, coffer.PutResult):
                lines.append("put")
            elif isinstance(part, coffer.DeleteResult):
                lines.append(f"delete {part.deleted}")
            else:
                lines.append(f"get {encode(part.kvs[0].value) if part.kvs else 'none'}")
        return "\n".join(lines)

    def do_watch(self, start: bytes, revision: bytes = b"0") -> None:
        self.events = []
        self.watching = self.store.watch(prefix(start), start_revision=int(revision))

    def do_next(self) -> str:
        while not self.events:
            update = self.watching.next()
            if update is None:
                return "end"
            self.events = list(update.events)
        event = self.events.pop(0)
        if event.kind is EventKind.PUT:
            return f"put {encode(event.kv.key)} {encode(event.kv.value)} {event.kv.mod_revision}"
        return f"delete {encode(event.kv.key)} {event.kv.mod_revision}"

    def do_resume(self) -> str:
        return str(self.watching.resume_revision)

    def do_unwatch(self) -> None:
        self.watching.close()

    def do_grant(self, ttl_s: bytes, lease: bytes = b"0") -> str:
        granted = self.store.lease_grant(int(ttl_s), lease=int(lease))
        return f"ok {granted.id} {granted.ttl_s}"

    def do_revoke(self, lease: bytes) -> None:
        self.store.lease_revoke(int(lease))

    def do_renew(self, lease: bytes) -> str:
        return f"ok {self.store.lease_renew(int(lease)).ttl_s}"

    def do_lease(self, lease: bytes) -> str:
        found = self.store.lease_info(int(lease), keys=True)
        if found.ttl_s <= 0:
            return "none"
        return " ".join(["ok", str(found.granted_ttl_s), *map(encode, found.keys)])

    def do_keep(self, lease: bytes) -> None:
        self.keeper = self.store.keep_alive(int(lease))

    def do_lost(self) -> str:
        raise self.keeper.wait()

    def do_unkeep(self) -> None:
        self.keeper.close()

    def do_add(self, key: bytes, times: bytes) -> None:
        self.start(int(times), lambda: self.store.update(lambda draft: draft.put(key, one_more(draft.get(key)))))

    def do_add_locked(self, name: bytes, key: bytes, times: bytes) -> None:
        self.start(int(times), lambda: self.add_one_locked(name, key))

    def add_one_locked(self, name: bytes, key: bytes) -> None:
        """Adds one without looking whether somebody else writes: the lock keeps them out."""
        with self.store.session(LOCK_TTL_S) as session, session.lock(name) as lock:
            put = Put(key, one_more(self.store.get(key)))
            if not self.store.commit(Txn().when(lock.held()).then(put)).succeeded:
                raise coffer.LeaseNotFoundError(121)

    def start(self, times: int, once: Callable[[], object]) -> None:
        """Has something done so many times, in a thread."""
        failures: "list[coffer.Error]" = []

        def work() -> None:
            try:
                for _ in itertools.repeat(None, times):
                    once()
            except coffer.Error as error:
                failures.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        self.jobs.append((thread, failures))

    def do_join(self) -> None:
        jobs, self.jobs = self.jobs, []
        for thread, _ in jobs:
            thread.join()
        for _, failures in jobs:
            for failure in failures:
                raise failure

    def do_lock(self, name: bytes) -> str:
        self.session = self.store.session(LOCK_TTL_S)
        self.held = self.session.lock(name)
        return f"ok {self.held.acquire()}"

    def do_put_fenced(self, key: bytes, value: bytes) -> str:
        done = self.store.commit(Txn().when(self.held.held()).then(Put(key, value)))
        return f"ok {done.revision}" if done.succeeded else "lost"

    def do_unlock(self) -> None:
        self.held.release()
        self.session.close()

    def do_compact(self, revision: bytes) -> None:
        self.store.compact(int(revision))

    def do_hash(self) -> str:
        return str(self.store.hash_kv().hash)

    def do_keys(self) -> str:
        return " ".join(["ok", *(slot.kind for slot in self.store.key_status().slots)])

    def do_rotate_data(self) -> None:
        self.store.key_rotate_data(rewrite=True)

    def do_rotate_key(self, path: bytes) -> None:
        self.store.key_rotate_kek(seal_key_file=path.decode())


def main() -> None:
    runner = Runner()
    for line in sys.stdin:
        print(runner.run(line.rstrip("\n")), flush=True)


if __name__ == "__main__":
    main()
