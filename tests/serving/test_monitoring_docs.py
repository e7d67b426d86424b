"""The dashboard, the alert rules and the table of metrics name what there is."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from boxwright.runtime import Detections, Execution
from boxwright.serving.drift import ALERT, LEAST_PICTURES, WINDOW
from boxwright.serving.engine import Engine, load_models
from boxwright.serving.jobs import Answer, Busy
from boxwright.serving.metrics import Metrics
from support.exported import with_export

REPOSITORY = Path(__file__).parents[2]
DASHBOARD = json.loads((REPOSITORY / "examples" / "grafana-dashboard.json").read_text())
MONITORING = (REPOSITORY / "docs" / "monitoring.md").read_text()
OURS = re.compile(r"\b(?:boxwright|process)_[a-z_]+")


@pytest.fixture(scope="module")
def metrics(mar, tmp_path_factory):
    """Of a server to which everything has happened once."""
    path = with_export(mar, tmp_path_factory.mktemp("quick") / "tiny.mar", "onnxruntime-fp32")
    engine = Engine(load_models([path], Execution("onnxruntime")))
    metrics = Metrics(engine, window=5, least=1)
    (model,) = engine.models.values()
    metrics.observe(model, Answer(Detections.empty(), {"decode": 0.1, "queue": 0.1, "network": 0.1}, 1))
    metrics.observe(model, Busy("full"))
    metrics._requests["GET", 404] += 1
    metrics._refused["ResourceNotFoundException"] += 1
    yield metrics
    engine.close(5)


@pytest.fixture(scope="module")
def samples(metrics):
    """Labels by name of a sample."""
    found = {}
    for family in text_string_to_metric_families(metrics.text()):
        for one in family.samples:
            found.setdefault(one.name, set()).update(one.labels)
    return found


def expressions(board):
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def test_every_metric_of_the_dashboard_exists(samples):
    named = {name for _, expr in expressions(DASHBOARD) for name in OURS.findall(expr)}
    assert len(named) > 20
    assert named <= set(samples)


def test_every_label_of_the_dashboard_exists(samples):
    known = set().union(*samples.values()) | {"instance", "job"}  # Prometheus' own
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            labels = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            for inside in re.findall(r"by \(([^)]*)\)", target["expr"]):
                labels += re.findall(r"\w+", inside)
            assert set(labels) <= known, panel["title"]


def test_the_dashboard_is_sound():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids) > 20
    cells = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        covered = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in covered) < 24, panel["title"]
        assert not covered & cells, f"{panel['title']} lies on another"
        cells |= covered
        if panel["type"] != "row":
            assert panel["targets"], panel["title"]
    for _, expr in expressions(DASHBOARD):
        assert expr.count("(") == expr.count(")")
        assert expr.count("{") == expr.count("}")
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"]))) - {"__rate_interval"}
    assert used == variables == {"datasource", "model"}


def test_the_alert_rules_name_what_there_is(samples):
    (rules,) = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(groups:.*?)```", MONITORING, re.DOTALL))
    named = {name for rule in rules["groups"][0]["rules"] for name in OURS.findall(rule["expr"])}
    assert {"boxwright_drift_classes", "boxwright_drift_scores"} <= named <= set(samples)
    (drift,) = (rule for rule in rules["groups"][0]["rules"] if rule["alert"] == "BoxwrightDrift")
    assert drift["expr"].count(f"> {ALERT}") == 2


def test_the_table_has_every_metric_and_no_other(metrics):
    table = {
        name
        for line in MONITORING.splitlines()
        if line.startswith("| `boxwright")
        for name in OURS.findall(line.split("|")[1])
    }
    families = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in metrics.registry.collect()
        if family.name.startswith("boxwright")
    }
    assert table == families


def test_the_numbers_in_the_text_are_those_in_the_code():
    assert f"the last {WINDOW} pictures" in MONITORING
    assert f"before {LEAST_PICTURES} pictures" in MONITORING
    assert f"above {ALERT:.2f}**".replace("0.", ".") in MONITORING


def test_torchserves_names_in_the_text_are_there(metrics):
    part = MONITORING.split("### TorchServe's names")[1].split("##")[0]
    named = {
        name for name in re.findall(r"`(\w+)`", part) if name not in ("model_version", "default", "WorkerLoadTime")
    }
    given = set(re.findall(r"(?m)^# TYPE (\w+)", metrics.text()))
    assert len(named) == 17
    assert named <= given
