"""The file of a SQLite database: locked whatever it is called, read by its owner alone, missed when it goes."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from notifier.core.errors import SchemaMismatch, StoreError, StoreInUse, StoreMissing, StoreReplaced, StoreUnreachable
from notifier.store.engine import SqlStore, open_store, upgrade_database
from notifier.store.revision import VERSION_TABLE
from notifier.store.sqlite_driver import connect, sqlite_module


@pytest.fixture
def path(tmp_path: Path, sqlite_template: Path) -> Path:
    """Return a database in a folder of its own."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "notifier.db").write_bytes(sqlite_template.read_bytes())
    return folder / "notifier.db"


def opened(path: Path, *, exclusive: bool = False, create: bool = True) -> SqlStore:
    return open_store(f"sqlite:///{path}", exclusive=exclusive, create=create)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes_in(folder: Path) -> dict[str, int]:
    return {found.name: mode(found) for found in folder.iterdir()}


# ---- one service, whatever it calls the file ----


def symlink(path: Path, other: Path) -> Path:
    other.symlink_to(path)
    return other


def hard_link(path: Path, other: Path) -> Path:
    other.hardlink_to(path)
    return other


def folder_link(path: Path, other: Path) -> Path:
    other.symlink_to(path.parent)
    return other / path.name


def other_spelling(path: Path, _other: Path) -> Path:
    return path.parent / ".." / path.parent.name / path.name


NAMES = (symlink, hard_link, folder_link, other_spelling)

SERVICE = """
import sys
from notifier.store.engine import open_store
store = open_store("sqlite:///" + sys.argv[1], exclusive=True)
print("running", flush=True)
sys.stdin.read()
store.close()
"""


@contextmanager
def service(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a service on a file in another process."""
    command = [sys.executable, "-c", SERVICE, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        yield process


@pytest.mark.parametrize("name", NAMES)
def test_a_second_service_is_refused_whatever_it_calls_the_file(
    path: Path, tmp_path: Path, name: Callable[[Path, Path], Path]
) -> None:
    other = name(path, tmp_path / "other")
    with service(path), pytest.raises(StoreInUse, match=r"another notifier already runs on .*; stop it"):
        opened(other, exclusive=True)
    opened(other, exclusive=True).close()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_refused_in_the_same_process_too(path: Path, tmp_path: Path, name: Callable[[Path, Path], Path]) -> None:
    first = opened(path, exclusive=True)
    with pytest.raises(StoreInUse):
        opened(name(path, tmp_path / "other"), exclusive=True)
    first.close()
    opened(path, exclusive=True).close()


@pytest.mark.parametrize("upgrading", [opened, lambda path: upgrade_database(f"sqlite:///{path}")])
def test_a_command_does_not_upgrade_the_database_under_a_running_service(
    path: Path, upgrading: Callable[[Path], object]
) -> None:
    """A service of an earlier version would go on writing to a schema that it does not know."""
    with service(path), closing(sqlite_module().connect(path)) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '0005'")  # noqa: S608 - ours
        connection.commit()
        with pytest.raises(SchemaMismatch, match=r"has schema 0005.*stop that service and start this version"):
            upgrading(path)
        assert connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchall() == [("0005",)]  # noqa: S608 - ours


def test_the_lock_ends_with_a_service_that_is_killed(path: Path) -> None:
    with service(path) as process:
        process.kill()
        process.wait()
    opened(path, exclusive=True).close()


def test_sqlite_locks_as_before_in_a_locked_file(path: Path) -> None:
    store = opened(path, exclusive=True)
    with closing(sqlite_module().connect(str(path), timeout=0, isolation_level=None)) as other:
        with store.writer.begin(), pytest.raises(sqlite_module().OperationalError, match="is locked"):
            other.execute("BEGIN IMMEDIATE")
        other.execute("BEGIN IMMEDIATE")
    store.close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.parametrize("call", ["flock", "fcntl"])
def test_a_file_system_without_locks_is_refused_in_one_sentence(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, call, refuse)
    with pytest.raises(StoreUnreachable, match=r"cannot lock files \(.*\): keep the database on a local disk"):
        opened(path, exclusive=True)


def test_a_kernel_without_open_file_locks_locks_the_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    with service(path), pytest.raises(StoreInUse):
        opened(path, exclusive=True)
    opened(path, exclusive=True).close()


# ---- what lies beside it ----


def victim_by_symlink(lock: Path, victim: Path) -> None:
    lock.symlink_to(victim)


def victim_by_hard_link(lock: Path, victim: Path) -> None:
    lock.hardlink_to(victim)


def a_file_of_somebody_else(lock: Path, victim: Path) -> None:
    lock.write_bytes(victim.read_bytes())


def a_folder(lock: Path, _victim: Path) -> None:
    lock.mkdir()


def a_pipe(lock: Path, _victim: Path) -> None:
    os.mkfifo(lock)


def a_dangling_symlink(lock: Path, _victim: Path) -> None:
    lock.symlink_to("nowhere")


@pytest.mark.parametrize(
    "lay",
    [victim_by_symlink, victim_by_hard_link, a_file_of_somebody_else, a_folder, a_pipe, a_dangling_symlink],
)
def test_a_foreign_lock_file_is_neither_followed_nor_changed(
    path: Path, tmp_path: Path, lay: Callable[[Path, Path], None]
) -> None:
    victim, lock = tmp_path / "victim", Path(f"{path}.lock")
    victim.write_text("precious")
    lay(lock, victim)
    with pytest.raises(StoreError, match="is not a lock file of this program"):
        opened(path, exclusive=True)
    assert victim.read_text() == "precious"
    assert not (path.parent / "nowhere").exists()


@pytest.mark.parametrize("left", [b"", b"12345", b"12345\n2049:1234567\n"])
def test_what_a_killed_service_left_is_a_lock_file_of_ours(path: Path, left: bytes) -> None:
    lock = Path(f"{path}.lock")
    lock.write_bytes(left)
    lock.chmod(0o644)
    store = opened(path, exclusive=True)
    assert lock.read_text().startswith(f"{os.getpid()}\n")
    assert mode(lock) == 0o600
    store.close()


# ---- who may read it ----


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
async def test_only_its_owner_can_read_a_new_database(tmp_path: Path) -> None:
    path = tmp_path / "notifier.db"
    async with aclosing(opened(path, exclusive=True)) as store:
        await store.transact(lambda tx: tx.channels.sync({"dba": "1"}, tx.now()))
        modes = modes_in(tmp_path)
    assert modes.keys() >= {"notifier.db", "notifier.db.lock"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o600), (0o666, 0o600), (0o640, 0o640), (0o600, 0o600)])
def test_a_database_anybody_could_read_is_protected_at_start(path: Path, before: int, after: int) -> None:
    path.chmod(before)
    opened(path).close()
    assert mode(path) == before, "a look-up changes nothing"
    opened(path, exclusive=True).close()
    assert mode(path) == after


# ---- it goes ----


def delete(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.rename(path)


def move_the_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize("take", [delete, replace, move_the_folder])
async def test_a_file_removed_under_a_service_is_missed_and_saved(path: Path, take: Callable[[Path], None]) -> None:
    async with aclosing(opened(path, exclusive=True)) as store:
        await store.verify()
        await store.transact(lambda tx: tx.channels.sync({"dba": "1"}, tx.now()))
        take(path)
        with pytest.raises(StoreReplaced, match=r"notifier\.db was (deleted or moved|replaced by another) while"):
            await store.verify()
        path.parent.mkdir(exist_ok=True)
        copy = await store.rescue()
        assert mode(copy) == 0o600
    async with aclosing(opened(copy, create=False)) as saved:
        assert [channel.name for channel in await saved.read(lambda q: q.channels())] == ["dba"]


async def test_no_connection_goes_to_another_file_or_creates_one(path: Path) -> None:
    async with aclosing(opened(path, exclusive=True)) as store:
        delete(path)
        store.writer.dispose()
        with pytest.raises(StoreReplaced):
            await store.transact(lambda tx: tx.now())
    assert "notifier.db" not in modes_in(path.parent)


def test_a_query_beside_a_service_with_a_replaced_file_reports_it(path: Path) -> None:
    with service(path):
        opened(path, create=False).close()
        replace(path)
        with pytest.raises(StoreReplaced, match="replaced by another"):
            opened(path, create=False)
    opened(path, create=False).close()


def test_a_copy_in_the_place_of_a_killed_services_file_is_used(path: Path) -> None:
    with service(path) as process:
        process.kill()
        process.wait()
    replace(path)
    opened(path, create=False).close()
    opened(path, exclusive=True).close()


def test_a_query_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing, match=r"there is no database .*nothing\.db"):
        opened(tmp_path / "nothing.db", create=False)
    (tmp_path / "dangling.db").symlink_to("nothing.db")
    with pytest.raises(StoreMissing):
        opened(tmp_path / "dangling.db", create=False)
    assert not (tmp_path / "nothing.db").exists()


def test_a_file_name_with_uri_characters_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a b%20c#d&mode=ro.db"
    opened(path, exclusive=True).close()
    store = opened(path, create=False)
    with store.writer.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM tasks")).scalar() == 0
    store.close()
    assert path.exists()


def test_statements_stay_prepared_on_a_connection_that_has_made_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "kept.db"
    path.touch()
    connection = connect(path, None)
    for number in range(200):
        connection.execute(f"CREATE TABLE t{number} (a)")
    prepared: list[object] = []

    def note(*what: object) -> int:  # SQLite asks it when a statement is prepared, and never later
        prepared.append(what)
        return 0

    connection.set_authorizer(note)
    for _ in range(3):
        prepared.clear()
        for number in range(3):
            connection.execute(f"SELECT a FROM t{number}").fetchall()  # noqa: S608 - a number
    connection.close()
    assert not prepared
