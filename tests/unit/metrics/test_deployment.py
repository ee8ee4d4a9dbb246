"""The rules for alerts and the dashboard use metrics, labels and values that are exported."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flask_mayday.metrics.exposition import exposition
from flask_mayday.metrics.instruments import Instruments
from flask_mayday.reporting.pipeline import Pipeline
from flask_mayday.watch.exporter import Exporter
from flask_mayday.watch.machine_checks import MachineChecks
from flask_mayday.watch.watcher import Watcher
from tests.unit.watch.conftest import pipeline_with as pipeline_with

from .conftest import samples

ROOT = Path(__file__).resolve().parents[3]
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD = ROOT / "deploy/grafana/dashboard.json"
SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})?")
LABEL = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')
SELECTOR = re.compile(r"\b(mayday_\w+|up)\b(?:\{([^}]*)\})?")
PROMETHEUS = {"job", "instance"}  # labels that it adds itself

Exported = dict[str, dict[str, set[str]]]


@pytest.fixture
def exported(pipeline_with: Callable[..., Pipeline]) -> Exported:
    """Return the names of all samples, with the values of their labels."""
    instruments = Instruments()
    for status in ("200", "500"):
        instruments.count_request("GET", "/", status, 0.1)
    watcher = Watcher(pipeline_with(WATCH_URL="http://nginx", METRICS="1"))
    collectors = Exporter(MachineChecks(watcher), "127.0.0.1", 1).collectors
    texts = (exposition(instruments.registry), exposition(*collectors))
    found: Exported = {"up": {"job": {"web", "watch"}}}
    for text in texts:
        for sample in samples(text.decode()):
            name, labels = SAMPLE.fullmatch(sample).groups()  # type: ignore[union-attr]
            if name.endswith("_created"):
                continue
            values = found.setdefault(name, {})
            for label, _, value in LABEL.findall(labels or ""):
                values.setdefault(label, set()).add(value)
    return found


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return list(json.loads(DASHBOARD.read_text())["panels"])


def queries() -> Iterator[str]:
    yield from (rule["expr"] for rule in alerts())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


def problems(query: str, exported: Exported) -> list[str]:
    """Return what a query names that is not exported."""
    found, labels = [], set(PROMETHEUS)
    for name, matchers in SELECTOR.findall(query):
        if name not in exported:
            found.append(name)
            continue
        labels |= exported[name].keys()
        for label, kind, value in LABEL.findall(matchers):
            values = exported[name].get(label, set())
            matches = (
                value in values if kind == "=" else any(re.fullmatch(value, v) for v in values)
            )
            if not matches:
                found.append(f"{name}{{{label}{kind}{value}}}")
    grouped = ",".join(re.findall(r"\bby \(([^)]*)\)", query)).replace(" ", "")
    return found + [one for one in grouped.split(",") if one and one not in labels]


def test_every_query_uses_what_is_exported(exported: Exported) -> None:
    all_queries = list(queries())
    assert len(all_queries) > 30
    assert [problem for query in all_queries for problem in problems(query, exported)] == []


@pytest.mark.parametrize(
    "query", ["mayday_none", 'mayday_spool_depth{kind="x"}', "sum by (x) (mayday_site_up)"]
)
def test_a_query_of_an_unknown_metric_or_label_is_detected(query: str, exported: Exported) -> None:
    assert len(problems(query, exported)) == 1


def test_every_metric_is_documented_and_on_the_dashboard(exported: Exported) -> None:
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported} - {"up"}
    documented = set(re.findall(r"`(mayday_\w+)`", (ROOT / "docs/metrics.md").read_text()))
    assert families == documented
    text = DASHBOARD.read_text()
    assert [name for name in families if name not in text] == []


def test_the_legends_name_labels_of_their_queries(exported: Exported) -> None:
    for panel in panels():
        for target in panel["targets"]:
            names = {name for name, _ in SELECTOR.findall(target["expr"])}
            labels = PROMETHEUS.union(*(exported[name] for name in names))
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels


def test_the_dashboard_asks_for_its_data_source_and_its_panels_do_not_overlap() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert [one["type"] for one in dashboard["templating"]["list"]] == ["datasource"]
    assert {panel["datasource"]["uid"] for panel in panels()} == {"${datasource}"}
    assert len({panel["id"] for panel in panels()}) == len(panels())
    cells: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        own = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & own
        assert all(x < 24 for x, _ in own)
        cells |= own


def test_every_alert_says_how_bad_it_is_and_what_it_means() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names)) > 10
    for rule in alerts():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
