"""An audit entry leaves the ledger only once it is on disk; where the disk refuses, it stays."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from runtime.scripted import Recorder, ScriptedStore
from runtime.test_runtime import FLOOR

from coordinator.core import effects as fx
from coordinator.core import events as ev
from coordinator.core.model import Timing
from coordinator.runtime import Runtime

KEPT = 3


async def stops(audit_file: Path | None, count: int) -> tuple[ScriptedStore, Runtime]:
    """So many stops on a coordinator that keeps few audit entries."""
    store = ScriptedStore()
    runtime = Runtime(FLOOR, store, Timing(audit_max=KEPT), assume_empty=True, audit_file=audit_file)
    task = asyncio.create_task(runtime.run())
    leads = asyncio.Event()
    runtime.on_leading.append(lambda leading: leads.set() if leading else None)
    await leads.wait()
    for number in range(count):
        out = Recorder()
        asked = ev.StopAsked(
            now_ms=runtime.now_ms(),
            conn=runtime.attach(out),
            operator="ann",
            reason="test",
            stop_id=f"s{number}",
            floor=True,
        )
        runtime.submit(asked)
        await out.until(fx.StopsReported)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return store, runtime


async def kept(store: ScriptedStore) -> list[int]:
    await store.lead()
    records = (await store.load()).records
    await store.close()
    return sorted(json.loads(value)["seq"] for key, value in records.items() if key.startswith("audit/"))


async def test_what_the_ledger_drops_is_on_disk_and_nothing_is_lost_between(tmp_path: Path) -> None:
    path = tmp_path / "data" / "c.audit.jsonl"
    store, _ = await stops(path, 6)
    in_ledger = await kept(store)
    on_disk = [json.loads(line)["seq"] for line in path.read_text().splitlines()]
    assert len(in_ledger) == KEPT
    assert sorted({*on_disk, *in_ledger}) == list(range(1, in_ledger[-1] + 1))


async def test_entries_stay_in_the_ledger_where_the_disk_does_not_take_them(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    store, runtime = await stops(tmp_path / "data" / "c.audit.jsonl", 6)
    assert any("stay in the ledger" in alarm for alarm in runtime.safeguards.alarms)
    in_ledger = await kept(store)
    assert in_ledger == list(range(1, in_ledger[-1] + 1))
    assert len(in_ledger) > KEPT
