"""What the library logs, told to `logging`."""

import atexit
import logging
from typing import Any, Dict, Optional

from coffer._call import call
from coffer._native import ffi, lib

_LEVELS: Dict[int, int] = {
    lib.COFFER_LOG_ERROR: logging.ERROR,
    lib.COFFER_LOG_WARN: logging.WARNING,
    lib.COFFER_LOG_INFO: logging.INFO,
    lib.COFFER_LOG_DEBUG: logging.DEBUG,
}

_logger: Optional[logging.Logger] = None


def set_log(logger: Optional[logging.Logger], level: int = logging.INFO) -> None:
    """Has everything that the library logs, from `level` on, told to a logger; None for nobody, as in the beginning.

    One logger for the process, in place of an earlier one. Each record has the module of the library that says it as `target`.
    Neither keys nor values are logged. The logger's handlers are called by threads of the library: they must return soon, and
    must not call this package.
    """
    global _logger
    if logger is None:
        call(lib.python_set_log, 0)
        _logger = None
    else:
        _logger = logger
        call(lib.python_set_log, _level(level))


def _level(level: int) -> int:
    """The library's name of the least grave level that is wanted."""
    wanted = [ours for ours, theirs in _LEVELS.items() if theirs >= level]
    return max(wanted, default=int(lib.COFFER_LOG_ERROR))


@ffi.def_extern()  # type: ignore[misc]
def python_log(level: int, target: Any, message: Any) -> None:
    """One message. Only a handler that raises nothing may be behind it: `logging` sees to that."""
    logger = _logger
    if logger is not None:
        said, by = (bytes(ffi.string(text)).decode(errors="replace") for text in (message, target))
        logger.log(_LEVELS.get(level, logging.DEBUG), "%s", said, extra={"target": by})


# A thread of the library must not come into an interpreter that ends.
atexit.register(set_log, None)
