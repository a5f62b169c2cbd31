"""The embedded store against killed processes, second coordinators, failing disks, and files it does not know."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.store.port import CommitUncertain, Fenced, RecordConflict, StoreUnavailable
from coordinator.store.sqlite import SqliteStore

COMMITTER = Path(__file__).with_name("committer.py")


async def opened(path: Path) -> SqliteStore:
    store = SqliteStore(str(path))
    await store.lead()
    await store.load()
    return store


async def refused(path: Path) -> str:
    store = SqliteStore(str(path))
    try:
        with pytest.raises(StoreUnavailable) as caught:
            await store.lead()
    finally:
        await store.close()
    return str(caught.value)


def killed_after(path: Path, commits: int) -> int:
    """Runs a committer, kills it after some acknowledged commits, and returns how many it acknowledged in all."""
    with subprocess.Popen([sys.executable, str(COMMITTER), str(path)], stdout=subprocess.PIPE, text=True) as process:
        lines = iter(process.stdout or ())
        last = -1
        for _ in range(commits):
            last = int(next(lines))
        process.kill()
        for line in lines:
            if line.endswith("\n"):
                last = int(line)
        return last + 1


async def test_everything_acknowledged_survives_sigkill_in_the_middle_of_commits(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    fence = 0
    for round_ in range(8):
        acknowledged = await asyncio.to_thread(killed_after, path, 5 + 9 * round_)
        store = await opened(path)
        loaded = await store.load()
        await store.close()
        numbers = sorted(int(key.removeprefix("a/")) for key in loaded.records if key != "last")
        assert numbers == list(range(len(numbers)))
        assert len(numbers) in (acknowledged, acknowledged + 1), "only the one in flight may be there unacknowledged"
        assert loaded.records["last"] == str(numbers[-1]).encode()
        assert loaded.epoch > fence
        fence = loaded.epoch


async def test_a_second_coordinator_is_told_who_has_the_file(tmp_path: Path) -> None:
    first = await opened(tmp_path / "ledger.db")
    message = await refused(tmp_path / "ledger.db")
    assert f"another coordinator (pid {os.getpid()}) has {tmp_path}/ledger.db open" in message
    await first.commit({"k": b"v"})
    await first.close()
    second = await opened(tmp_path / "ledger.db")
    await second.close()


async def test_a_second_coordinator_is_found_under_another_name_of_the_file(tmp_path: Path) -> None:
    first = await opened(tmp_path / "ledger.db")
    (tmp_path / "alias.db").symlink_to(tmp_path / "ledger.db")
    assert "another coordinator" in await refused(tmp_path / "alias.db")
    await first.close()


async def test_the_lock_ends_with_a_killed_process(tmp_path: Path) -> None:
    await asyncio.to_thread(killed_after, tmp_path / "ledger.db", 1)
    store = await opened(tmp_path / "ledger.db")
    await store.close()


async def test_a_coordinator_that_got_past_the_lock_fences_the_first(tmp_path: Path) -> None:
    """Someone deletes the lock file and starts a second coordinator: the first must not commit again."""
    path = tmp_path / "ledger.db"
    first = await opened(path)
    await first.commit({"k": b"first"})
    (tmp_path / "ledger.db.lock").unlink()
    second = await opened(path)
    with pytest.raises(RecordConflict, match=r"\.lock was removed or replaced"):
        await first.commit({"k": b"again"})
    with pytest.raises(RecordConflict):
        await first.commit({})
    assert (await second.load()).records["k"] == b"first"
    await second.close()
    await first.close()


async def test_a_fence_that_was_raised_by_another_stops_commits_ticks_loads_and_refencing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    store = await opened(path)
    await store.commit({"k": b"v"})
    foreign(path, "UPDATE meta SET epoch = epoch + 1, leader = 'pid 1 other'")
    with pytest.raises(Fenced, match=r"another coordinator \(pid 1 other, fence \d+\)"):
        await store.commit({"k": b"w"})
    with pytest.raises(Fenced):
        await store.commit({})
    with pytest.raises(Fenced):
        await store.load()
    with pytest.raises(Fenced):
        await store.refence()
    await store.close()
    assert foreign(path, "SELECT value FROM record") == [(b"v",)]


async def test_a_foreign_write_is_a_conflict_and_nothing_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    store = await opened(path)
    await store.commit({"k": b"v"})
    foreign(path, "UPDATE record SET value = x'00'")
    with pytest.raises(RecordConflict, match="another program wrote to"):
        await store.commit({"k": b"w"})
    with pytest.raises(RecordConflict):
        await store.commit({})
    await store.close()
    assert foreign(path, "SELECT value FROM record") == [(b"\x00",)]


async def test_a_foreign_reader_and_a_backup_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    store = await opened(path)
    await store.commit({"k": b"v"})
    foreign(path, f"VACUUM INTO '{tmp_path}/backup.db'")
    assert foreign(path, "SELECT key FROM record") == [("k",)]
    await store.commit({"k": b"w"})
    await store.close()
    restored = SqliteStore(f"{tmp_path}/backup.db")
    await restored.lead()
    assert (await restored.load()).records["k"] == b"v"
    await restored.close()


@pytest.mark.parametrize("victim", ["ledger.db", "ledger.db-wal", "ledger.db.lock"])
async def test_a_file_that_is_removed_under_the_coordinator_is_noticed_at_the_next_commit(
    tmp_path: Path, victim: str
) -> None:
    store = await opened(tmp_path / "ledger.db")
    await store.commit({"k": b"v"})
    (tmp_path / victim).unlink()
    with pytest.raises(RecordConflict, match=f"{victim} was removed or replaced"):
        await store.commit({"k": b"w"})
    await store.close()


async def test_a_foreign_writer_that_holds_the_file_makes_commits_fail_cleanly(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    store = await opened(path)
    await store.commit({"k": b"v"})
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match=r"nothing was committed.*another process holds it"):
        await store.commit({"k": b"w"})
    shell.execute("ROLLBACK")
    shell.close()
    await store.commit({"k": b"x"})
    assert (await store.load()).records["k"] == b"x"
    await store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "zonelock-test", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_on_a_full_disk_nothing_is_applied_and_all_goes_on_when_space_is_back(small_disk: Path) -> None:
    path = small_disk / "ledger.db"
    store = await opened(path)
    await store.commit({"k": b"kept"})
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "ballast").write_bytes(b"x" * 2_000_000)
    with pytest.raises(StoreUnavailable, match=r"nothing was committed.*the disk is full: free some space"):
        await store.commit({"k": b"lost", "other": b"x" * 50_000})
    assert dict((await store.load()).records) == {"k": b"kept"}
    (small_disk / "ballast").unlink()
    await store.commit({"k": b"later"})
    await store.close()
    again = await opened(path)
    assert dict((await again.load()).records) == {"k": b"later"}
    await again.close()


async def test_an_io_error_in_the_commit_itself_is_uncertain_until_refenced(tmp_path: Path) -> None:
    """A write that failed half-way may have left the commit in the WAL, for a crash to replay."""
    path = tmp_path / "ledger.db"
    store = await opened(path)
    await store.commit({"k": b"v"})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(CommitUncertain, match="the disk reports an error"):
            await store.commit({"k": b"w" * 400_000})
        with pytest.raises(CommitUncertain, match="refence and load first"):
            await store.commit({"k": b"x"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await store.refence() > 1
    assert (await store.load()).records["k"] == b"v"
    await store.commit({"k": b"x"})
    await store.close()


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("floor: this is my YAML\n" * 100)
    assert "it is not an SQLite database: name another file" in await refused(path)
    assert path.read_text().startswith("floor: this")


async def test_another_programs_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    foreign(path, "CREATE TABLE theirs (x)")
    before = path.read_bytes()
    assert "is another program's SQLite database" in await refused(path)
    assert path.read_bytes() == before


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    await (await opened(path)).close()
    foreign(path, "PRAGMA user_version = 2")
    assert "has schema 2, this zonelock reads 1: start the version that wrote it" in await refused(path)


async def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    store = await opened(path)
    for i in range(20):
        await store.commit({f"k{i}/{j}": b"x" * 300 for j in range(100)})
    await store.close()
    with path.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\xa5" * 8 * 4096)
    assert "it is damaged: move it and its -wal file away" in await refused(path)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("absent/ledger.db", "the directory {tmp}/absent does not exist: create it"),
        ("folder", "{tmp}/folder is a directory: name a file"),
    ],
)
async def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    assert message.format(tmp=tmp_path) in await refused(tmp_path / place)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything: run as another user")
async def test_a_read_only_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    await (await opened(path)).close()
    path.chmod(0o400)
    assert "it is read-only: give this user write permission" in await refused(path)


async def test_a_read_only_file_system_is_refused(small_disk: Path) -> None:
    await (await opened(small_disk / "ledger.db")).close()
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    await asyncio.to_thread(subprocess.run, remount, check=True)
    assert "it is read-only: give this user write permission" in await refused(small_disk / "ledger.db")
    assert "cannot be opened" in await refused(small_disk / "new.db")


async def test_the_event_loop_runs_while_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    store = await opened(path)
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    commit = asyncio.create_task(store.commit({"k": b"v"}))
    for _ in range(20):
        await asyncio.sleep(0.005)
    assert not commit.done()
    shell.execute("ROLLBACK")
    shell.close()
    await commit
    await store.close()


def foreign(path: Path, statement: str) -> list[tuple[object, ...]]:
    """What an operator does with the sqlite3 shell."""
    with_shell = sqlite3.connect(path)
    try:
        rows = with_shell.execute(statement).fetchall()
        with_shell.commit()
        return rows
    finally:
        with_shell.close()
