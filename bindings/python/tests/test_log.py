"""What the library logs comes to a logger."""

import logging
import subprocess
import sys
from typing import List

import pytest

import coffer
from conftest import eventually


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records: List[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps one."""
        self.records.append(record)


def full(store: coffer.Store) -> bool:
    """Puts until there is no room."""
    try:
        store.put("k", bytes(100 << 10))
    except coffer.NoSpaceError:
        return True
    return False


def test_what_the_library_says_comes_to_a_logger() -> None:
    kept, logger = Kept(), logging.Logger("of a test")
    logger.addHandler(kept)
    coffer.set_log(logger, logging.WARNING)
    try:
        with coffer.open("mem:", quota_backend_bytes=1 << 20) as store:
            assert eventually(lambda: full(store), 20)
            assert eventually(lambda: any("NOSPACE" in record.getMessage() for record in kept.records), 20)
    finally:
        coffer.set_log(None)
    warnings = [record for record in kept.records if "NOSPACE" in record.getMessage()]
    assert {(record.levelno, record.name) for record in warnings} == {(logging.WARNING, "of a test")}
    assert all(getattr(record, "target").startswith("coffer") for record in kept.records)
    assert all(record.levelno >= logging.WARNING for record in kept.records)
    before = len(kept.records)
    with coffer.open("mem:", quota_backend_bytes=1 << 20) as store:
        assert eventually(lambda: full(store), 20)
    assert len(kept.records) == before


@pytest.mark.parametrize("end", ["pass", "store.close()", "raise SystemExit"])
def test_a_process_that_logs_ends_as_it_should(end: str) -> None:
    program = f"""
import coffer, logging
logging.basicConfig(level=logging.DEBUG)
coffer.set_log(logging.getLogger("coffer"), logging.DEBUG)
store = coffer.open("mem:")
for i in range(100):
    store.put(f"{{i}}", "v")
{end}
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr
