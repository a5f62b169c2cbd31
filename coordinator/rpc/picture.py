"""What watchers and operators see of the machine, as `zonelock.v1` messages. Reads views, changes nothing.

Enum tables are built at import: a state that the protocol cannot say fails at start.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from zonelock.v1 import floor_pb2 as fpb
from zonelock.v1 import safety_service_pb2 as spb
from zonelock.v1 import zone_service_pb2 as zpb

from coordinator.core import views
from coordinator.core.machine import Machine
from coordinator.core.model import BlockCause, StopRecord, UnitState, ZoneState
from coordinator.core.rejections import Refusal
from coordinator.rpc.errors import RequestRefused
from coordinator.rpc.translate import STOP_CAUSES, blocker_message, closure_message, stop_message

ZONE_STATES = {s: fpb.ZoneState.Value(f"ZONE_STATE_{s.value}") for s in ZoneState}
SLOT_STATES = {s: fpb.SlotState.Value(f"SLOT_STATE_{s.value}") for s in UnitState}
BLOCK_CAUSES = {c: fpb.BlockCause.Value(f"BLOCK_CAUSE_{c.value or 'UNSPECIFIED'}") for c in BlockCause}
LINK_STATES = {s: fpb.LinkState.Value(f"LINK_STATE_{s}") for s in ("CONNECTED", "SILENT", "GONE")}


def zone_message(machine: Machine, name: str, now_ms: int) -> fpb.ZoneView:
    view = views.zone_view(machine, name, now_ms)
    return fpb.ZoneView(
        name=view.name,
        state=ZONE_STATES[view.state],
        capacity=view.capacity,
        stop_group=view.stop_group,
        occupants=[
            fpb.Occupant(
                slot=occupant.slot,
                state=SLOT_STATES[occupant.state],
                agent_id=occupant.agent_id,
                token=occupant.token,
                cause=BLOCK_CAUSES[occupant.cause],
                orphaned=occupant.orphaned,
                remaining_ms=occupant.remaining_ms,
                since_ms=occupant.since_ms,
            )
            for occupant in view.occupants
        ],
        stop_ids=view.stop_ids,
        waiters=view.waiters,
        explanation=view.explanation,
        closure=closure_message(closure) if (closure := machine.closures.get(name)) is not None else None,
    )


def agent_message(machine: Machine, agent_id: str, now_ms: int) -> fpb.AgentView:
    view = views.agent_view(machine, agent_id, now_ms)
    x_mm, y_mm = view.position or (0, 0)
    return fpb.AgentView(
        agent_id=view.agent_id,
        kind=view.kind,
        link=LINK_STATES[view.link],
        has_position=view.position is not None,
        x_mm=x_mm,
        y_mm=y_mm,
        heading_mdeg=view.heading_mdeg,
        inside_zones=view.inside_zones,
        held_zones=view.held_zones,
        stop_ids=view.stop_ids,
        explanation=view.explanation,
        activity=view.activity,
        removed=view.removed,
    )


def wait_messages(machine: Machine, now_ms: int) -> list[fpb.WaitView]:
    return [
        fpb.WaitView(
            agent_id=view.agent_id,
            request_id=view.request_id,
            zones=view.zones,
            priority=view.priority,
            waiting_ms=view.waiting_ms,
            position=view.position,
            blockers=[blocker_message(blocker) for blocker in view.blockers],
        )
        for view in views.wait_views(machine, now_ms)
    ]


def stop_view_message(machine: Machine, stop_id: str, now_ms: int) -> fpb.Stop:
    """A stop with who acknowledged it and who still has to; one that the ledger has forgotten is ended."""
    view = views.stop_view(machine, stop_id, now_ms)
    if view is None:
        return fpb.Stop(stop_id=stop_id, active=False)
    return fpb.Stop(
        stop_id=view.stop_id,
        cause=STOP_CAUSES[view.cause],
        floor=view.floor,
        stop_groups=view.stop_groups,
        zones=view.zones,
        tripped_by=view.tripped_by,
        reason=view.reason,
        active=view.active,
        reset_by=view.reset_by,
        reset_reason=view.reset_reason,
        age_ms=view.age_ms,
        acknowledged_by=view.acknowledged_by,
        unconfirmed=view.unconfirmed,
        late=view.late,
        explanation=view.explanation,
    )


def reported_stop_message(machine: Machine, record: StopRecord, now_ms: int) -> fpb.Stop:
    """A stop that an operator's call reports: as it is now, or as the call left it when it is forgotten already."""
    return (
        stop_message(record)
        if machine.stops.get(record.stop_id) is None
        else stop_view_message(machine, record.stop_id, now_ms)
    )


def totals_message(machine: Machine, commits: int) -> zpb.Totals:
    view = views.totals(machine)
    return zpb.Totals(
        grants=view.grants,
        releases=view.releases,
        stops=view.stops,
        live_grants=view.live_grants,
        connected_agents=view.connected_agents,
        waiting=view.waiting,
        commits=commits,
    )


def audit_messages(machine: Machine, limit: int, after_seq: int) -> list[spb.AuditEntry]:
    """Oldest first: the newest `limit` of all when `after_seq` is 0, otherwise the first `limit` after it."""
    entries = [entry for entry in machine.audit if entry.seq > after_seq]
    chosen = entries[:limit] if after_seq else entries[-limit:]
    return [
        spb.AuditEntry(
            seq=entry.seq,
            action=entry.action,
            actor=entry.actor,
            reason=entry.reason,
            subjects=entry.subjects,
            recorded_at=entry.recorded_at,
        )
        for entry in chosen
    ]


def resolve_zones(machine: Machine, wanted: Sequence[str]) -> list[str]:
    """Zone names for names of zones or areas, each once, in the floor's order; all for none. Raises UNKNOWN_ZONE."""
    every = list(machine.units.zone_names)
    if not wanted:
        return every
    found: set[str] = set()
    for index, name in enumerate(wanted):
        if name in machine.areas:
            found.update(machine.areas[name])
        elif name in machine.units:
            found.add(name)
        else:
            some = ", ".join(islice(every, 5))
            raise RequestRefused(
                Refusal.UNKNOWN_ZONE,
                f"names[{index}] is {name!r}, neither a zone nor an area of floor {machine.floor.site!r}, "
                f"which has zones such as {some}",
                (("field", f"names[{index}]"), ("value", name)),
            )
    return [zone for zone in every if zone in found]
