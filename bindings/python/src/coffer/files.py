"""What needs no open store: key files, snapshot files, options."""

from coffer import _encode, _requests
from coffer._call import call, run
from coffer._encode import OptionValue
from coffer._native import ffi, lib
from coffer._requests import PathText
from coffer.data import SnapshotInfo


def version() -> str:
    """The version of the library."""
    return bytes(ffi.string(lib.coffer_version())).decode()


def check_options(**options: OptionValue) -> None:
    """Checks options without opening anything. Raises `InvalidArgumentError`, which says what is wrong."""
    given = _encode.options(options)
    call(lib.coffer_options_check, given, len(given))


def generate_key(path: PathText) -> None:
    """Draws a key and writes it to a new file that only its owner may read; `seal_key_file` names it then."""
    call(lib.coffer_key_generate, _encode.text(path))


def snapshot_status(path: PathText, **seal: OptionValue) -> SnapshotInfo:
    """Reads all of a snapshot file, and tells what it holds if it is whole. A seal option opens a sealed one."""
    return run(_requests.snapshot_status(path, seal))


def snapshot_restore(path: PathText, directory: PathText, **seal: OptionValue) -> SnapshotInfo:
    """Makes a new store in `directory`, the only member of a new cluster, from a snapshot file.

    The seal options say what opens the snapshot and, as nothing else is said, what seals the store: the same.
    `new_key_file`, `new_passphrase_file`, `new_command`, `new_kms_socket` and `new_unsealed` seal it otherwise.
    """
    return run(_requests.snapshot_restore(path, directory, seal))
