"""Prometheus beside the stack: it finds every web container, and says when mail is stuck."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.compose import PROJECT, ROOT, Stack, end, free_port, request, wait_until
from tests.unit.metrics.test_deployment import queries

OVERRIDE = """
services:
  prometheus:
    volumes: ["{folder}/prometheus.yml:/etc/prometheus/prometheus.yml:ro",
              "{folder}/alerts.yml:/etc/prometheus/alerts.yml:ro"]
"""


class Measured(Stack):
    """A stack with two web containers and a Prometheus that looks every second."""

    @property
    def prometheus(self) -> str:
        return f"http://127.0.0.1:{self.settings['PROMETHEUS_PORT']}/api/v1"

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of a query."""
        answer = request(f"{self.prometheus}/query?{urlencode({'query': expression})}")
        assert answer.status == 200, f"{expression}: {answer.text}"
        return list(json.loads(answer.text)["data"]["result"])

    def alerts(self) -> set[str]:
        """Return the names of the alerts that fire."""
        found = json.loads(request(f"{self.prometheus}/alerts").text)["data"]["alerts"]
        return {one["labels"]["alertname"] for one in found if one["state"] == "firing"}

    def addresses(self, service: str, network: str) -> list[str]:
        """Return the addresses of a service's containers in a network."""
        template = f'{{{{(index .NetworkSettings.Networks "{self.project}_{network}").IPAddress}}}}'
        return self.run(
            "docker", "inspect", "--format", template, *self.containers(service)
        ).stdout.split()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    folder = tmp_path_factory.mktemp("prometheus")
    for name in ("prometheus.yml", "alerts.yml"):
        text = (ROOT / "deploy/prometheus" / name).read_text()
        # A short patience, for the test.
        text = re.sub(r"(\w+_interval): 15s", r"\1: 1s", text)
        text = re.sub(r"for: \d+m", "for: 1s", text.replace("> 30", "> 3"))
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    (folder / "override.yaml").write_text(OVERRIDE.format(folder=folder))
    settings = {
        "COMPOSE_FILE": f"compose.yaml:compose.metrics.yaml:{folder / 'override.yaml'}",
        "PROMETHEUS_PORT": str(free_port()),
        "WEB_REPLICAS": "2",
    }
    stack = Measured(f"{PROJECT}-metrics", settings=settings)
    stack.remove()
    try:
        output = stack.run("make", "up", timeout=600).stdout
        assert f"Metrics     http://127.0.0.1:{settings['PROMETHEUS_PORT']}" in output
        yield stack
    finally:
        end(stack)


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
)
def test_prometheus_accepts_the_configuration_and_the_rules(
    measured: Measured, arguments: tuple[str, ...]
) -> None:
    files = [*(ROOT / "deploy/prometheus").iterdir(), ROOT / "tests/stack/alerts_test.yml"]
    mounts = [f"--volume={path}:/checked/{path.name}:ro" for path in files]
    image = measured.compose("images", "--quiet", "prometheus").strip()
    command = ["docker", "run", "--rm", "--network=none", "--user=0", "--workdir=/checked"]
    command += [*mounts, "--entrypoint=promtool", image, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_every_web_container_and_watch_is_scraped(measured: Measured) -> None:
    def requests_by_instance() -> list[dict[str, Any]]:
        measured.get("/login")
        counted = 'mayday_http_requests_total{method="GET",route="/login",status="200"} > 0'
        return measured.query(f"sum by (instance) ({counted})")

    wait_until(lambda: len(requests_by_instance()) == 2, "requests of two web containers")
    instances = {one["metric"]["instance"] for one in measured.query('up{job="web"} == 1')}
    assert instances == {f"{one}:8001" for one in measured.addresses("web", "inner")}
    wait_until(lambda: measured.query('up{job="watch"} == 1'), "a scrape of watch")
    wait_until(lambda: measured.query("mayday_site_up == 1"), "the site in the metrics of watch")
    assert len(measured.query("mayday_error_groups")) == 5  # once, not for each container
    assert measured.query("mayday_log_failed_writes_total > 0") == []
    for query in queries():
        measured.query(query.replace("$__rate_interval", "1m"))


def test_nothing_outside_the_inner_network_gets_metrics(measured: Measured) -> None:
    answer = measured.get("/metrics")
    assert answer.status == 404
    assert "mayday_" not in answer.text
    inner = [f"{one}:8001" for one in measured.addresses("web", "inner")]
    inner += [f"{one}:8002" for one in measured.addresses("watch", "inner")]
    addresses = [*inner, "web:8001", "web:8002", "watch:8001", "watch:8002"]
    urls = " ".join(f"http://{address}/metrics" for address in addresses)
    for service in ("nginx", "mailguard"):
        script = f"curl --silent --parallel --max-time 2 {urls}"
        assert "mayday_" not in measured.shell(service, script, check=False)


def test_an_alert_fires_while_mail_is_stuck(measured: Measured) -> None:
    wait_until(lambda: "MaydayMailStuck" not in measured.alerts(), "no alert")
    measured.compose("stop", "--timeout", "1", "mailhog")
    failed = measured.drill("exception", message="for the metrics")
    wait_until(lambda: "MaydayMailStuck" in measured.alerts(), "the alert on stuck mail")
    assert measured.query('mayday_spool_depth{kind="mail"} >= 1')
    measured.compose("start", "mailhog")
    measured.mail_of(failed.request_id)
    wait_until(lambda: "MaydayMailStuck" not in measured.alerts(), "the end of the alert")
    assert measured.query('mayday_deliveries_total{channel="mail"} >= 1')
