"""The alert rules are valid, fire on the stories that they are for, name metrics that exist, and have a runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml

from coordinator.metrics import TABLE

ETCD_METRICS = {"etcd_mvcc_db_total_size_in_bytes", "etcd_server_quota_backend_bytes", "etcd_server_has_leader"}


def alerts(repository: Path) -> list[dict[str, str]]:
    document = yaml.safe_load((repository / "deploy/prometheus/alerts.yml").read_text("utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def promtool(binary: Path, *words: str) -> None:
    run = subprocess.run([str(binary), *words], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_rules_are_valid(repository: Path, promtool_binary: Path) -> None:
    promtool(promtool_binary, "check", "rules", str(repository / "deploy/prometheus/alerts.yml"))
    promtool(promtool_binary, "check", "config", str(repository / "deploy/prometheus/prometheus.yml"))


def test_each_alert_fires_on_its_story_and_not_before(repository: Path, promtool_binary: Path) -> None:
    stories = repository / "tests/deploy/alerts_test.yml"
    promtool(promtool_binary, "test", "rules", str(stories))
    told = stories.read_text("utf-8")
    assert [rule["alert"] for rule in alerts(repository) if rule["alert"] not in told] == []


def test_the_rules_name_only_metrics_that_exist(repository: Path) -> None:
    known = {f"zonelock_{row.name}" for row in TABLE}
    known |= {f"zonelock_{row.name}_bucket" for row in TABLE if row.kind == "histogram"}
    for rule in alerts(repository):
        named = set(re.findall(r"\b(?:zonelock|etcd)_\w+", rule["expr"]))
        assert named <= known | ETCD_METRICS, rule["alert"]


def test_each_alert_has_its_page_in_the_runbook(repository: Path) -> None:
    headings = re.findall(r"^### (\w+)$", (repository / "docs/operations.md").read_text("utf-8"), re.MULTILINE)
    rules = alerts(repository)
    assert headings == [rule["alert"] for rule in rules]
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket")  # type: ignore[index]
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"  # type: ignore[index]
