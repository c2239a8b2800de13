"""The file of a SQLite database: which file it is, who may read it, and the lock that keeps a second service off it.

A name is not a file: symbolic links, hard links and bind mounts give one file several names, and a name can come to
stand for another file while a service runs.
"""

import errno
import fcntl
import os
import re
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from notifier.core.errors import StoreError, StoreInUse, StoreMissing, StoreReplaced, StoreUnreachable

_OWNER_ONLY: Final = 0o600

_NOTE = re.compile(rb"\s*(?:(?P<pid>\d{1,10})\s*(?:(?P<device>\d{1,20}):(?P<inode>\d{1,20})\s*)?)?")
"""What a lock file holds: the process that runs and, except in those of earlier versions, the file that it opened."""

_NOTE_LIMIT: Final = 64
"""Bytes that are read of a lock file. One that holds more is not ours."""

_SERVICE_BYTE: Final = 0x3FFF_FFFF
"""The byte of a database file that a service locks: the one before those that SQLite locks."""


class Identity(NamedTuple):
    """What makes a file this one and no other, whatever it is called."""

    device: int
    inode: int


def identity_of(path: Path) -> Identity | None:
    """Return which file a path leads to now; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Identity(found.st_dev, found.st_ino)


def create(path: Path) -> bool:
    """Create an empty file that its owner alone can read; return False where there is a file already.

    SQLite gives the files that it puts beside a database the rights of that. Raises OSError.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY))
    except FileExistsError:
        return False
    return True


def find(named: Path, *, may_create: bool) -> tuple[Path, bool]:
    """Return the file that a path leads to, and whether it is new. Raises StoreError.

    Symbolic links are followed once, here: the files beside a database belong to the file, not to one of its names.
    """
    path = Path(os.path.realpath(named))
    if not path.parent.is_dir():
        raise StoreUnreachable(
            f"the folder of the database does not exist: {named.parent}; create it or correct store.url"
        )
    if path.exists():
        return path, False
    if not may_create:
        raise StoreMissing(
            f"no source has been polled yet: there is no database {named}. `notifier run` and"
            " `notifier poll` create it; if it is elsewhere, correct store.url"
        )
    try:
        return path, create(path)
    except OSError as error:
        raise StoreUnreachable(
            f"the database {named} cannot be created: {error.strerror}; let the user of the service write to its"
            " folder, or name another place in store.url by its full path"
        ) from error


def protect(path: Path) -> None:
    """Let the owner alone read a database that anybody can read: earlier versions left it so.

    A file that only a group can read besides was shared by somebody, and is left so.
    """
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm"), Path(f"{path}-journal")):
        with suppress(OSError):  # one that is not there, or not ours to change
            if name.stat(follow_symlinks=False).st_mode & stat.S_IRWXO:
                name.chmod(_OWNER_ONLY)


class ServiceLock:
    """The right to be the one service on a database file, held until it is closed."""

    def __init__(self, path: Path) -> None:
        """Take the right to a file that exists. Raises StoreError: StoreInUse where another service has it."""
        self._path = path
        self._beside = _open_lock_file(_lock_file(path))
        self._inside: int | None = None
        try:
            self._hold_name()
            self._hold_file()
        except BaseException:
            self._release()
            raise
        os.ftruncate(self._beside, 0)
        os.pwrite(self._beside, f"{os.getpid()}\n{self.identity.device}:{self.identity.inode}\n".encode(), 0)

    def close(self) -> None:
        """Give the right up. Only after all connections: a file that a process closes takes SQLite's locks along."""
        os.ftruncate(self._beside, 0)
        _HELD.discard(self.identity)
        self._release()

    def _release(self) -> None:
        os.close(self._beside)
        if self._inside is not None:
            os.close(self._inside)

    def _hold_name(self) -> None:
        try:
            fcntl.flock(self._beside, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = _NOTE.fullmatch(os.pread(self._beside, _NOTE_LIMIT, 0))
            holder = found and found["pid"] and found["pid"].decode()
            raise StoreInUse(
                f"another notifier already runs on {self._path}{f' (process {holder})' if holder else ''};"
                " stop it, or use PostgreSQL to run several"
            ) from None
        except OSError as error:
            raise self._without_locks(error) from error

    def _hold_file(self) -> None:
        """Lock the file itself, so that a service that calls it by another name finds it taken."""
        found = identity_of(self._path)
        if found in _HELD:  # not even opened: to close it again would end locks that SQLite holds in this process
            raise self._has_another_name()
        try:
            self._inside = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise StoreUnreachable(
                f"the database {self._path} cannot be written: {error.strerror}; check the disk and the file's rights"
            ) from error
        status = os.fstat(self._inside)
        self.identity = Identity(status.st_dev, status.st_ino)
        try:
            _lock_byte(self._inside, _SERVICE_BYTE)
            _lock_byte(self._beside, 0)  # other processes can test it without a lock of their own
        except (BlockingIOError, PermissionError):
            raise self._has_another_name() from None
        except OSError as error:
            raise self._without_locks(error) from error
        _HELD.add(self.identity)

    def _has_another_name(self) -> StoreInUse:
        return StoreInUse(
            f"another notifier already runs on {self._path}, which it calls by another name (a hard link or a mount);"
            " stop it, or use PostgreSQL to run several"
        )

    def _without_locks(self, error: OSError) -> StoreUnreachable:
        return StoreUnreachable(
            f"the file system of {self._path} cannot lock files ({error.strerror}): keep the database on a local disk,"
            " or use PostgreSQL"
        )


_HELD: set[Identity] = set()
"""The files that this process has locked."""


# Locks of open file descriptions, which SQLite's own locks in this process neither see nor end. Linux alone has them,
# and not every sandbox (EINVAL): the name alone is locked there.


def _lock_byte(descriptor: int, at: int) -> None:
    if sys.platform == "linux":
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _range(at))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise


def _is_locked(descriptor: int, at: int) -> bool:
    if sys.platform != "linux":
        return False
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _range(at))
    except OSError:
        return False
    (kind,) = struct.unpack_from("h", found)
    return bool(kind != fcntl.F_UNLCK)


def _range(at: int) -> bytes:
    """Return a `struct flock` for one byte."""
    return struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0)


def _lock_file(path: Path) -> Path:
    return Path(f"{path}.lock")


def _open_lock_file(name: Path) -> int:
    """Open a lock file, which may be new. What is no lock file of ours is neither followed nor changed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, _OWNER_ONLY)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _not_ours(name) from None
        raise StoreUnreachable(f"cannot write beside the database: {name}: {error.strerror}") from error
    status = os.fstat(descriptor)
    ours = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    if not (ours and _NOTE.fullmatch(os.pread(descriptor, _NOTE_LIMIT, 0))):
        os.close(descriptor)
        raise _not_ours(name)
    with suppress(PermissionError):  # another user's, who lets us in
        os.fchmod(descriptor, _OWNER_ONLY)
    return descriptor


def _not_ours(name: Path) -> StoreError:
    return StoreError(f"{name} is not a lock file of this program, which keeps one there: move it away")


def require_same(path: Path, opened: Identity) -> None:
    """Raise StoreReplaced unless a path leads to the file that was opened, and a service uses that one too."""
    found = identity_of(path)
    what = "deleted or moved" if found is None else "replaced by another"
    if found is None or found != opened or _used_elsewhere(path, found):
        raise StoreReplaced(
            f"the database file {path} was {what} while the service used it; the service saves what it holds beside it:"
            f" stop the service and put the newest {path.name}.rescued-… in the file's place"
        )


def _used_elsewhere(path: Path, found: Identity) -> bool:
    """Return whether a running service opened another file by this name."""
    with _existing_lock_file(path) as descriptor:
        if descriptor is None:
            return False
        note = _NOTE.fullmatch(os.pread(descriptor, _NOTE_LIMIT, 0))
        named = Identity(int(note["device"]), int(note["inode"])) if note and note["inode"] else None
        return named not in (None, found) and _is_locked(descriptor, 0)


def service_runs(path: Path) -> bool:
    """Return whether another process runs a service on a database file; False where locks cannot be tested."""
    with _existing_lock_file(path) as descriptor:
        return descriptor is not None and _is_locked(descriptor, 0)


@contextmanager
def _existing_lock_file(path: Path) -> Iterator[int | None]:
    """Open the lock file of a database, which is not created; None where it cannot be opened."""
    try:
        descriptor = os.open(_lock_file(path), os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
