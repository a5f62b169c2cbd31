"""What `GetCluster` says of the etcd behind a coordinator. Reads only; never imports the runtime."""

from __future__ import annotations

from zonelock.v1 import cluster_service_pb2 as cpb

from coordinator.store.etcd import EtcdStore
from coordinator.store.etcd_client import fit_for_production


async def describe_etcd(store: EtcdStore, response: cpb.GetClusterResponse) -> None:
    """Fills in members, their versions and sizes, and how old the leader's tick is."""
    status = await store.status()
    response.tick_age_ms = store.tick_age_ms
    for member in status.endpoints:
        response.store_members.add(
            endpoint=member.endpoint,
            reachable=member.reachable,
            version=member.version,
            outdated=member.reachable and not fit_for_production(member.version),
            leads=member.leads,
            db_bytes=member.db_bytes,
            problem=member.problem or ", ".join(member.alarms),
        )
