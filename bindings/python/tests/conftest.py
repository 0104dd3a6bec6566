"""Where the tests' stores are, and that nothing is left of them.

A test that takes `uri` or `store` runs with every kind of store: in memory, in a directory of either backend, sealed; and, if
`COFFER_TEST_ENDPOINTS` names one (`host:port,…`), behind a server that holds nothing of value.
"""

import os
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, Iterator

import coffer
import pytest

REMOTE = os.environ.get("COFFER_TEST_ENDPOINTS")
SUBJECTS = ["mem", "segment", "sqlite"] + (["remote"] if REMOTE else [])


class Subject:
    """A store to open: its URI and options."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.kind = kind
        self.directory = directory / "store"
        self.options: Dict[str, coffer.OptionValue] = {}
        if kind == "mem":
            self.uri = "mem:"
        elif kind == "remote":
            self.uri = f"coffer://{REMOTE}"
        else:
            key = directory / "key"
            coffer.generate_key(key)
            self.uri = f"file://{self.directory}"
            self.options = {"backend": kind, "seal_key_file": key}

    def open(self) -> coffer.Store:
        return coffer.open(self.uri, **self.options)

    @property
    def durable(self) -> bool:
        return self.kind != "mem"


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    return Subject(request.param, tmp_path)


@pytest.fixture(params=["segment", "sqlite"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    """Only stores in a directory."""
    return Subject(request.param, tmp_path)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[coffer.Store]:
    """A store in memory, for what is no different elsewhere."""
    with coffer.open("mem:") as store:
        yield store


@pytest.fixture
def store(subject: Subject) -> Iterator[coffer.Store]:
    with subject.open() as store:
        yield store


@pytest.fixture
def name() -> str:
    """A prefix that no other test uses: a server's store outlives its tests."""
    return f"test/{uuid.uuid4().hex}/"


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    """Waits for a condition."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


class Left:
    """What of threads and descriptors this process has more than when this was made."""

    def __init__(self) -> None:
        self._before = self._count()

    @staticmethod
    def _count() -> "Counter[str]":
        found: "Counter[str]" = Counter()
        for entry in os.listdir("/proc/self/fd"):
            try:
                found[os.readlink(f"/proc/self/fd/{entry}")] += 1
            except OSError:
                pass  # the one that lists
        found["threads"] = len(os.listdir("/proc/self/task"))
        return found

    def check(self) -> None:
        """Fails if there is something, and stays."""
        assert eventually(lambda: not self._count() - self._before, 5), self._count() - self._before


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fails a test that leaves a thread or a descriptor."""
    left = Left()
    yield
    left.check()


def resident_kb() -> int:
    """The memory of this process."""
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1])
