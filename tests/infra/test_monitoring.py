"""Rules, dashboard and runbook agree with each other and with the metrics."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from handlers.job_api.api.metrics import ApiMetrics
from handlers.job_api.worker.metrics import WorkerMetrics
from infra.check import overlays
from infra.check.tools import find_tool
from infra.generate import prometheus_rule
from infra.monitoring.dashboard import WIDTH, build_dashboard
from tests.support import ROOT

MONITORING = ROOT / "infra/monitoring"
RULES = yaml.safe_load((MONITORING / "rules.yml").read_text())
ALERTS = {r["alert"]: r for g in RULES["groups"] for r in g["rules"] if "alert" in r}
RECORDED = {r["record"] for g in RULES["groups"] for r in g["rules"] if "record" in r}
PANELS = [panel for panel in build_dashboard()["panels"] if panel["type"] != "row"]
_METRIC = re.compile(r"\bmusicgen[_:][a-z0-9_:]+")


def _list_samples() -> set[str]:
    """Return the names of all samples of the processes."""
    found = set()
    for registry in (ApiMetrics(spend_limit_usd=1.0).registry, WorkerMetrics(lambda: 0).registry):
        for family in registry.collect():
            found.add(family.name)
            endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
            found |= {family.name + ending for ending in endings.get(family.type, ())}
    return found


@pytest.mark.parametrize("expression", [
    *(rule["expr"] for group in RULES["groups"] for rule in group["rules"]),
    *(target["expr"] for panel in PANELS for target in panel["targets"]),
])  # fmt: skip
def test_only_metrics_that_there_are_are_asked_for(expression: str) -> None:
    asked = set(_METRIC.findall(re.sub(r'"[^"]*"', "", expression)))
    assert asked <= _list_samples() | RECORDED


def test_every_alert_has_its_section_in_the_runbook_and_every_section_its_alert() -> None:
    sections = set(re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.M))
    assert sections == set(ALERTS)
    for name, rule in ALERTS.items():
        # The external label `runbook` says where the operator keeps it.
        page = "{{ with $externalLabels.runbook }}{{ . }}{{ else }}docs/runbook.md{{ end }}"
        assert rule["annotations"]["runbook_url"] == f"{page}#{name.lower()}"
        assert rule["labels"]["severity"] in ("page", "warn")


def test_every_alert_is_driven_to_firing_and_back() -> None:
    """`make check-infra` runs these tests of promtool."""
    tests = yaml.safe_load((MONITORING / "tests/alerts.yml").read_text())["tests"]
    outcomes: dict[str, list[bool]] = {}
    for each in tests:
        for step in sorted(each["alert_rule_test"], key=lambda s: int(s["eval_time"].rstrip("m"))):
            outcomes.setdefault(step["alertname"], []).append("exp_alerts" in step)
    assert outcomes == {name: [False, True, False] for name in ALERTS}


def test_the_dashboard_is_what_the_script_makes() -> None:
    assert json.loads((MONITORING / "dashboard.json").read_text()) == build_dashboard()


def test_no_two_panels_overlap_or_have_one_number() -> None:
    everything: list[dict[str, Any]] = build_dashboard()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells


def test_the_autoscaler_s_metric_is_made_of_one_that_there_is() -> None:
    (rule,) = yaml.safe_load((MONITORING / "adapter-rules.yaml").read_text())["rules"]
    assert set(_METRIC.findall(rule["seriesQuery"])) <= _list_samples()
    scaling = (ROOT / "infra/k8s/components/request-scaling/kustomization.yaml").read_text()
    assert f"name: {rule['name']['as']}" in scaling


def test_a_clusters_rules_are_those_of_the_file() -> None:
    """No alert existed on Kubernetes: the rules were in no object."""
    component = MONITORING.parent / "k8s/components/monitoring/rules.yaml"
    text = (MONITORING / "rules.yml").read_text()
    assert component.read_text() == prometheus_rule.render(text), "run python -m infra.generate"
    assert yaml.safe_load(component.read_text())["spec"]["groups"] == RULES["groups"]


@pytest.mark.skipif(find_tool("kubectl") is None, reason="needs kubectl: `make check-infra`")
@pytest.mark.parametrize("overlay", ["production", "spot"])
def test_a_cluster_has_alerts_targets_and_the_dashboard(overlay: str) -> None:
    objects = overlays.render(overlays.FOLDER / "overlays" / overlay)
    (rule,) = (item for item in objects if item["kind"] == "PrometheusRule")
    assert {r["alert"] for g in rule["spec"]["groups"] for r in g["rules"] if "alert" in r} == set(
        ALERTS
    )
    (dashboard,) = (i for i in objects if "grafana_dashboard" in i["metadata"].get("labels", {}))
    assert json.loads(dashboard["data"]["musicgen.json"]) == build_dashboard()
    assert dashboard["metadata"]["name"] == "musicgen-dashboard"
    jobs = {item["spec"]["jobLabel"] for item in objects if item["kind"] == "PodMonitor"}
    assert jobs == {"app.kubernetes.io/name"}


@pytest.mark.skipif(find_tool("kubectl") is None, reason="needs kubectl: `make check-infra`")
def test_a_relay_without_the_operator_has_no_object_of_it() -> None:
    """A cluster without Prometheus' operator refused the whole component."""
    objects = overlays.render(overlays.FOLDER / "overlays/local")
    relay = yaml.safe_load_all((overlays.FOLDER / "components/relay/relay.yaml").read_text())
    groups = {item["apiVersion"].partition("/")[0] for item in [*objects, *relay]}
    assert "monitoring.coreos.com" not in groups
