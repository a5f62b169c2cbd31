"""The Dockerfile and docker-compose.yml as far as they can be proved without a container engine.

The file is valid by the Compose Specification's schema; every command in it runs; together they make a cluster on which
vehicles drive, which a real Prometheus scrapes, and from which every query of the dashboard gets data.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from deploy.composition import HEALTHY_S, NOT_RUN, Composition, compose, instruction

from coordinator.metrics import TABLE
from coordinator.store.etcd_client import fit_for_production

COORDINATORS = ("coordinator1", "coordinator2", "coordinator3")
MEMBERS = ("etcd1", "etcd2", "etcd3")


@pytest.fixture
def site(tmp_path: Path, etcd_binary: Path, prometheus_binary: Path) -> Iterator[Composition]:
    with Composition(tmp_path) as site:
        yield site


def dashboard(repository: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((repository / "deploy/grafana/dashboards/zonelock.json").read_text("utf-8"))
    return document


def queries(repository: Path) -> list[str]:
    return [target["expr"] for panel in dashboard(repository)["panels"] for target in panel["targets"]]


def test_the_compose_file_is_valid_by_the_specification(repository: Path) -> None:
    schema = json.loads((repository / "tests/deploy/compose-spec.json").read_text("utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    problems = [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(compose())]
    assert problems == []
    broken = compose() | {"servces": {}}
    assert list(jsonschema.Draft7Validator(schema).iter_errors(broken)), "the schema would accept anything"


def test_images_are_pinned_and_etcd_is_fit_for_production() -> None:
    for name, service in compose()["services"].items():
        image, _, tag = service["image"].partition(":")
        assert "build" in service or re.fullmatch(r"v?\d+\.\d+\.\d+", tag), name
        if image == "quay.io/coreos/etcd":
            assert fit_for_production(tag.removeprefix("v")), tag


def test_nothing_is_published_beyond_this_machine_and_every_volume_is_declared() -> None:
    document = compose()
    for name, service in document["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith("./") or source in document["volumes"], volume
        for other in service.get("depends_on", []):
            assert other in document["services"]


def test_the_image_holds_exact_versions_and_does_not_run_as_root(repository: Path) -> None:
    text = (repository / "Dockerfile").read_text("utf-8")
    last = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER zonelock$", last, re.MULTILINE)
    assert all(
        "requirements.lock" in line or "--no-deps" in line for line in text.splitlines() if "pip install" in line
    )
    assert instruction("ENTRYPOINT") == ["zonelock"]


def test_what_the_wheel_needs_is_not_kept_out_of_the_image(repository: Path) -> None:
    ignored = (repository / ".dockerignore").read_text("utf-8").split()
    project = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    for path in (*packages, "requirements.lock", project["project"]["readme"], *project["project"]["license-files"]):
        assert path.split("/")[0] not in ignored, path


def test_the_dashboard_and_its_provisioning_fit_together(repository: Path) -> None:
    grafana = repository / "deploy/grafana"
    source = yaml.safe_load((grafana / "provisioning/datasources/prometheus.yml").read_text("utf-8"))["datasources"][0]
    (provider,) = yaml.safe_load((grafana / "provisioning/dashboards/zonelock.yml").read_text("utf-8"))["providers"]
    mounts = {volume.split(":")[1]: volume.split(":")[0] for volume in compose()["services"]["grafana"]["volumes"]}
    assert mounts[provider["options"]["path"]] == "./deploy/grafana/dashboards"
    assert mounts["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
    assert source["url"] == "http://prometheus:9090"
    board = dashboard(repository)
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) and board["uid"] and board["schemaVersion"] >= 36
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["datasource"] == {"type": "prometheus", "uid": source["uid"]}, panel["title"]
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    known = {f"zonelock_{row.name}" for row in TABLE}
    for query in queries(repository):
        assert {re.sub("_bucket$", "", name) for name in re.findall(r"\bzonelock_\w+", query)} <= known, query


def test_the_prometheus_configuration_scrapes_every_coordinator_and_member(repository: Path) -> None:
    config = yaml.safe_load((repository / "deploy/prometheus/prometheus.yml").read_text("utf-8"))
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert targets == {
        "zonelock": [f"{name}:7680" for name in COORDINATORS],
        "etcd": [f"{name}:2379" for name in MEMBERS],
    }


async def bring_up(site: Composition) -> None:
    """In the order of `depends_on`; every service but those that this machine does not have."""
    for name in MEMBERS:
        site.start(name)
    await site.until_healthy(*MEMBERS)
    for name in (*COORDINATORS, "prometheus"):
        site.start(name)
    await site.until_healthy(*COORDINATORS)
    site.start("agents")
    site.start("edge")
    assert {*site.processes, *NOT_RUN} == set(site.services), "a service of the compose file is not run here"


async def test_every_command_runs_and_the_dashboard_gets_its_data(site: Composition, repository: Path) -> None:
    await bring_up(site)
    await site.until_value('sum(up{job=~"zonelock|etcd"})', "== 6")
    await site.until_value("sum(zonelock_is_leader)", "== 1")
    await site.until_value("sum(rate(zonelock_grants_total[1m]))", "> 0")
    await site.until_value('sum(zonelock_grants_ended_total{how="released"})', "> 0")
    await site.until_value('max(zonelock_zones{state="HELD"})', "> 0")
    await site.until_value("max(zonelock_store_size_bytes)", "> 0")
    for query in queries(repository):
        assert await site.query(query), f"no data for {query}"
    assert site.processes["agents"].poll() is None, site.log("agents")
    # In the reverse order, as compose ends them; all of ours in good order.
    await findings_of(site, "heartbeat")
    for name in ("agents", "edge", *COORDINATORS):
        assert site.end(name) == 0, (name, site.ended[name], site.log(name))


@pytest.mark.slow
async def test_the_alerts_fire_when_the_site_breaks(site: Composition) -> None:
    await bring_up(site)
    await site.until_value("sum(zonelock_is_leader)", "== 1")
    (leader,) = [row["metric"]["instance"] for row in await site.query("zonelock_is_leader == 1")]
    for name in COORDINATORS:
        if site.address(name, 7680) == leader:
            site.kill(name)
    await site.until_value(f'sum(zonelock_is_leader{{instance!="{leader}"}})', "== 1")
    await site.until_value(f'sum(rate(zonelock_grants_total{{instance!="{leader}"}}[10s]))', "> 0")
    (heir,) = [name for name in COORDINATORS if name in site.processes and await leads(site, name)]
    stop = [*site.here(heir, ["zonelock"]), "stop", "--floor", "--reason", "test", "--operator", "test"]
    stop += ["--server", site.address(heir, 7600)]
    await asyncio.to_thread(subprocess.run, stop, check=True, capture_output=True, timeout=30)
    await site.until_value('count(ALERTS{alertname="ZonelockStopActive",alertstate="firing"})', "> 0")
    emission = await site.query("sum(zonelock_stop_emission_seconds_sum) / sum(zonelock_stop_emission_seconds_count)")
    assert not math.isnan(float(emission[0]["value"][1]))
    for name in MEMBERS[:2]:
        site.kill(name)
    for alert in ("ZonelockTickLate", "ZonelockNoLeader", "EtcdNoLeader", "EtcdMemberDown", "ZonelockCoordinatorDown"):
        await site.until_value(f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})', "> 0")


async def leads(site: Composition, name: str) -> bool:
    rows = await site.query(f'zonelock_is_leader{{instance="{site.address(name, 7680)}"}} == 1')
    return bool(rows)


async def findings_of(site: Composition, kind: str) -> list[dict[str, Any]]:
    """What the edge node has kept, once there is such a line."""
    give_up = time.monotonic() + HEALTHY_S
    path = site.folder / "edge" / "findings.jsonl"
    while True:
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        found = [told for told in map(json.loads, lines) if told["kind"] == kind]
        if found:
            return found
        assert site.processes["edge"].poll() is None, site.log("edge")
        assert time.monotonic() < give_up, f"no {kind}: {site.log('edge')}"
        await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_the_edge_node_finds_the_bearing_that_fails(site: Composition) -> None:
    """Without coordinators, too: it looks on, and keeps what it finds."""
    for volume in site.services["edge"]["volumes"]:
        assert volume.split(":")[0] in ("./deploy/edge", "edge")
    site.start("edge")
    config = site.folder / "deploy-edge" / "node.yaml"
    text = config.read_text("utf-8")
    assert "after_s: 60, wear_s: 60" in text
    site.end("edge")
    config.write_text(text.replace("after_s: 60, wear_s: 60", "after_s: 27, wear_s: 5"), encoding="utf-8")
    site.start("edge")
    (first, *_) = await findings_of(site, "anomaly")
    assert first["source"] == "spindle"
    assert site.end("edge") == 0


async def test_the_image_by_itself_serves_and_is_healthy(site: Composition) -> None:
    """`docker run zonelock`: ENTRYPOINT, CMD and HEALTHCHECK of the Dockerfile, as coordinator1's ports and folder."""
    site.services["coordinator1"]["command"] = instruction("CMD")
    site.start("coordinator1")
    await site.until_healthy("coordinator1")
    assert site.end("coordinator1") == 0
    assert (site.folder / "coordinator1" / "ledger.sqlite").exists()
