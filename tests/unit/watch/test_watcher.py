"""What watch reports: outages with their error pages, and pages that nobody else reports."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_mayday.mail.times import moment
from flask_mayday.report.report import Report
from flask_mayday.reporting.pipeline import Pipeline
from flask_mayday.spool import starts
from flask_mayday.spool.database import Database
from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outages import Outage, outages_between
from flask_mayday.watch import history
from flask_mayday.watch.machine_checks import MachineChecks
from flask_mayday.watch.site import SiteCheck
from flask_mayday.watch.state import Phase, StateFile, WatchState
from flask_mayday.watch.watcher import Watcher
from tests.support.reports import a_report

START = 1_767_225_600.0
Pipelines = Callable[..., Pipeline]


class FakeSite:
    """A site that is as ``trouble`` says."""

    trouble = ""
    tls = None

    def check(self, now: float) -> SiteCheck:
        return SiteCheck(now, self.trouble)

    def diagnose(self) -> str:
        return "No container of web is running." if self.trouble else ""


class Simulation:
    """A watch that ticks once a second on a simulated clock, with real files."""

    def __init__(self, make: Pipelines, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = START
        self.make, self.monkeypatch = make, monkeypatch
        self.edge = folder / "edge"
        self.edge.mkdir()
        self.site: Any = FakeSite()
        self.pages = 0
        self.start()

    def start(self) -> None:
        """Make a watch, as a new process does."""
        self.pipeline = self.make(WATCH_EDGE_LOG=self.edge, WATCH_URL="http://nginx")
        self.monkeypatch.setattr("time.time", lambda: self.now)
        self.watcher = Watcher(self.pipeline, self.site)
        self.watcher.history.clock = lambda: self.now
        self.watcher.history._up_at = self.now

    def run(self, seconds: int, trouble: str = "", pages: int = 0) -> None:
        """Let time pass, with ``pages`` error pages of nginx in each second."""
        self.site.trouble = trouble
        for _ in range(seconds):
            self.now += 1
            for _ in range(pages):
                self.page(self.now - 0.5)
            self.watcher.tick(self.now)

    def page(self, when: float, status: int = 502) -> str:
        self.pages += 1
        identifier = f"{self.pages:032x}"
        known = {"time": when, "status": status, "method": "GET", "path": "/explore"}
        with (self.edge / "edge-2026.jsonl").open("a") as file:
            file.write(json.dumps({**known, "request_id": identifier}) + "\n")
        return identifier

    def reports(self) -> list[Report]:
        """Return what is in the spool's files, in order."""
        stored = self.pipeline.courier.outbox.incoming.read()
        return [Report.from_json(one.body) for one in stored]

    def messages(self) -> list[str]:
        return [f"{one.type}: {one.message}" for one in self.reports()]


@pytest.fixture
def watch(pipeline_with: Pipelines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    return Simulation(pipeline_with, tmp_path, monkeypatch)


DOWN = "Alert: The site does not answer: 502 Bad Gateway. No container of web is running."


def test_an_outage_is_two_reports_with_the_exact_number_of_error_pages(watch: Simulation) -> None:
    watch.run(5)
    watch.run(30, "502 Bad Gateway", pages=20)
    assert watch.messages() == [DOWN]
    (report,) = watch.reports()
    assert report.context is not None
    assert report.context["Status"] == "502 Bad Gateway"
    assert report.context["Error pages so far"] == "180 (180 x 502)"
    assert "502 Bad Gateway" in str(report.context["Seen"])
    assert report.requests[0]["request_id"] == f"{1:032x}"

    watch.run(20)
    _, back = watch.messages()
    assert back == (
        "Recovered: The site answers again. It was down for 30 s, and visitors got 600 error pages"
    )
    watch.run(60)
    assert len(watch.messages()) == 2
    (outage,) = outages_between(Database(watch.pipeline.courier.outbox.path), START, watch.now)
    assert outage == Outage(START + 6, START + 36, 600)


def test_more_pages_than_are_listed_are_counted(
    watch: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_mayday.watch.watcher.MAX_LOOSE_PAGES", 10)
    watch.run(5)
    watch.run(15, "502 Bad Gateway", pages=30)
    watch.run(20)
    assert "visitors got 450 error pages" in watch.messages()[1]
    assert 10 < len(watch.reports()[1].requests) <= 100


@pytest.mark.parametrize("seconds", range(1, 40, 3))
def test_after_a_kill_at_any_time_nothing_is_reported_twice(
    watch: Simulation, seconds: int
) -> None:
    watch.run(5)
    watch.run(seconds, "502 Bad Gateway", pages=2)
    watch.start()
    watch.run(15, "502 Bad Gateway", pages=2)
    watch.run(2)
    watch.start()
    watch.run(20)
    down, back = watch.messages()
    assert down == DOWN
    assert f"{2 * (seconds + 15)} error pages" in back
    assert len({one.uuid for one in watch.reports()}) == 2


def test_a_report_that_was_not_written_before_a_kill_is_written_afterwards(
    watch: Simulation,
) -> None:
    incoming = watch.pipeline.courier.outbox.incoming.folder
    incoming.parent.mkdir()
    incoming.write_text("in the way")
    watch.run(5)
    watch.run(15, "502 Bad Gateway")
    assert watch.watcher.alerts.trouble
    incoming.unlink()
    watch.start()
    watch.run(1, "502 Bad Gateway")
    assert watch.messages() == [DOWN]


def test_after_an_orderly_stop_an_outage_begins_later(watch: Simulation) -> None:
    spool = watch.pipeline.courier.outbox.folder
    starts.note_server_event(
        spool, starts.START
    )  # of a container that was killed, and left nothing else
    watch.run(5)
    watch.run(8, "502 Bad Gateway")
    starts.note_server_event(spool, starts.STOP)
    watch.run(20, "502 Bad Gateway")
    assert watch.messages() == []
    watch.run(5)
    watch.run(10, "502 Bad Gateway")  # the stop explains nothing any more
    assert watch.messages() == [DOWN]


def test_an_orderly_stop_does_not_hide_a_crash_loop(
    watch: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = watch.pipeline.courier.outbox.folder
    watch.run(5)
    starts.note_server_event(spool, starts.STOP)
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    for _ in range(2):
        starts.note_server_event(spool, starts.START)
    watch.run(12, "502 Bad Gateway")
    (message,) = watch.messages()
    assert "web keeps restarting: 2 starts within 1 min" in message


def test_pages_outside_of_an_outage_are_reported_together(watch: Simulation) -> None:
    watch.run(5)
    watch.page(watch.now, 504)
    watch.run(3, "502 Bad Gateway", pages=1)  # too short for an outage
    watch.run(30)
    assert watch.messages() == ["Alert: nginx sent 4 error pages in the app's place"]
    (report,) = watch.reports()
    assert report.context == {"Error pages": "4 (3 x 502, 1 x 504)"}
    assert [one["state"] for one in report.requests] == ["answered for the app"] * 4


def test_a_page_whose_request_the_app_has_reported_is_not_reported_again(watch: Simulation) -> None:
    watch.run(5)
    own, cut_off, other = (watch.page(watch.now) for _ in range(3))
    requests = ({"request_id": cut_off, "method": "GET", "path": "/", "state": "interrupted"},)
    outbox = watch.pipeline.courier.outbox
    outbox.put(a_report("hung", time=watch.now, request_id=own), mailable=True)
    outbox.put(a_report("killed", time=watch.now, requests=requests), mailable=True)
    mailbox = Mailbox(outbox)
    mailbox.take_incoming()
    mailbox.close()
    watch.run(30)
    (report,) = watch.reports()
    assert report.message == "nginx sent 1 error page in the app's place"
    assert report.requests[0]["request_id"] == other


def test_the_heartbeat_is_sent_only_while_all_is_up(
    watch: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_checks = MachineChecks(watch.watcher)
    assert machine_checks.trouble(watch.now) == "the site has not been checked yet"
    watch.run(2)
    assert machine_checks.trouble(watch.now) == ""
    watch.run(1, "502 Bad Gateway")
    assert "502 Bad Gateway" in machine_checks.trouble(watch.now)
    watch.run(2)
    assert machine_checks.trouble(watch.now) == ""
    # If the other loop hangs:
    late = {machine_checks.trouble(watch.now + seconds) for seconds in (31, 60)}
    assert late == {f"the site has not been checked since {moment(watch.now)}"}  # logged once
    machine_checks.spool_trouble = "cannot be written"
    assert machine_checks.trouble(watch.now) == "the spool cannot be written"


def test_a_check_that_fails_does_not_lose_the_alerts_of_those_before_it(
    watch: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is broken")

    machine_checks = MachineChecks(watch.watcher)
    machine_checks.spool_trouble = "cannot be written: Input/output error"
    monkeypatch.setattr(machine_checks, "_check_spool", lambda: None)
    monkeypatch.setattr("flask_mayday.watch.machine_checks.volume_conditions", fail)
    with pytest.raises(OSError, match="the disk is broken"):
        machine_checks.check(watch.now)
    assert "The spool cannot be written" in watch.watcher.state.unsent[0]


def test_a_saved_alert_that_cannot_be_read_does_not_delay_the_others(watch: Simulation) -> None:
    watcher = watch.watcher
    watcher.state.unsent = ["torn", 5, a_report("The site is down").to_json()]  # type: ignore[list-item]
    watcher.alerts.deliver()
    assert watcher.state.unsent == []


@pytest.mark.parametrize(("phase", "earlier"), [(Phase.DOWN, "away"), (Phase.UP, "well")])
def test_the_state_that_an_earlier_version_saved_is_kept(
    tmp_path: Path, phase: Phase, earlier: str
) -> None:
    file = StateFile(tmp_path)
    state = WatchState(phase=phase, last_up=START, was_up=True, unsent=["an alert"])
    file.save(state)
    saved = json.loads(file.path.read_text()) | {"phase": earlier}
    saved |= {"last_well": saved.pop("last_up"), "was_well": saved.pop("was_up")}
    file.path.write_text(json.dumps(saved))
    assert file.load() == state


@pytest.mark.parametrize("text", ["", "{}", "[]", "[" * 9999, '{"phase": "unheard of"}'])
def test_a_state_that_cannot_be_read_is_begun_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "watch.json").write_text(text)
    assert StateFile(tmp_path).load() == WatchState()


def test_the_heartbeat_depends_on_a_site_of_which_only_the_app_is_checked(
    pipeline_with: Pipelines,
) -> None:
    watcher = Watcher(pipeline_with(WATCH_READY_URL="http://web:8000/health/ready"))
    watcher.last_check = SiteCheck(START, "no answer")
    assert MachineChecks(watcher).trouble(START) == "the site does not answer: no answer"


def test_a_database_that_is_started_three_times_in_a_minute_is_reported(
    watch: Simulation,
) -> None:
    machine_checks = MachineChecks(watch.watcher)
    alerts = "Alert: db keeps restarting: 3 starts within 1 min"
    for started in (START - 86_400, START, START + 20, START + 40):
        assert alerts not in watch.messages()
        watch.now = START + 45
        ready = {"database": "ok", "database_started": started}
        watch.watcher.last_check = SiteCheck(watch.now, "", ready)
        machine_checks.check(watch.now)
        machine_checks.check(watch.now)  # without a restart since
        watch.watcher.alerts.deliver()
    assert watch.messages().count(alerts) == 1


def test_pages_beyond_the_limit_are_only_counted(
    watch: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_mayday.watch.watcher.MAX_LOOSE_PAGES", 10)
    watch.run(1)
    for number in range(100):
        watch.page(watch.now, 502 + number % 2)
    watch.run(1)
    assert len(watch.watcher.state.loose) <= 11
    watch.run(80)
    (report,) = watch.reports()
    assert report.message == "nginx sent 100 error pages in the app's place"


def test_watch_checks_the_site_even_if_it_cannot_show_that_it_is_alive(
    watch: Simulation, tmp_path: Path
) -> None:
    stopping = threading.Event()

    def check(now: float) -> SiteCheck:
        stopping.set()
        return SiteCheck(now)

    watch.watcher._check.function = check
    watch.watcher.run(stopping, tmp_path / "missing" / "alive")
    assert watch.watcher.last_check.time == watch.now


def test_an_outage_is_detected_in_time_for_a_mail_within_15_seconds() -> None:
    checks = 2 * 2.0 + 1.0  # the interval before and after the first failure, and the last check
    assert history.PATIENCE + checks < 15
