"""From a log record to the outbox: every error once, and the caller never fails for it."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from flask_mayday.context import request_id
from flask_mayday.context.record_fields import ENVIRON
from flask_mayday.report.report import Report
from flask_mayday.reporting import registry
from flask_mayday.reporting.handler import ReportHandler
from tests.support.reports import in_files, query

ReadReports = Callable[[], list[Report]]


def our_handlers() -> list[ReportHandler]:
    return [pipeline.reports for pipeline in registry.pipelines()]


def test_an_error_of_any_logger_is_reported(
    make_app: Callable[..., Flask], read_reports: ReadReports
) -> None:
    make_app()
    logging.getLogger("another.library").error("No %s", "luck")
    logging.getLogger().critical("Root")
    logging.getLogger("another.library").warning("Only a warning")
    assert [(r.level, r.logger, r.message) for r in read_reports()] == [
        ("ERROR", "another.library", "No luck"),
        ("CRITICAL", "root", "Root"),
    ]


def test_a_record_whose_arguments_do_not_fit_is_reported(
    make_app: Callable[..., Flask], read_reports: ReadReports
) -> None:
    make_app()
    (handler,) = our_handlers()  # pytest's own handlers refuse such a record
    handler.handle(logging.LogRecord("app", logging.ERROR, __file__, 1, "%d users", ("x",), None))
    (report,) = read_reports()
    assert "%d users" in report.message


class Secretive(Exception):  # noqa: N818
    def __getattribute__(self, name: str) -> object:
        raise KeyError(name)


class Broken(Exception):  # noqa: N818
    @property
    def hide_parameters(self) -> bool:
        raise ValueError


@pytest.mark.parametrize(
    "exc_info",
    [
        (Secretive, Secretive(), None),
        (Broken, Broken(), None),
        (None, None, None),
        (),
        (None,),
        True,
        1,
    ],
)
def test_no_exception_breaks_the_call_that_logs_it(
    make_app: Callable[..., Flask], read_reports: ReadReports, exc_info: object
) -> None:
    for _ in range(2):  # with two apps, the traceback decides which one reports
        make_app()
    log = logging.Logger("app")  # without pytest's handlers, which refuse such a record
    log.addHandler(logging.NullHandler())
    known = {"levelno": logging.ERROR, ENVIRON: {request_id.ENVIRON_KEY: "0" * 32}}
    log.handle(logging.makeLogRecord({**known, "msg": "Lost", "exc_info": exc_info}))
    assert len(read_reports()) == 1


def test_the_parameters_of_a_cause_are_hidden_although_the_exception_above_it_raises(
    make_app: Callable[..., Flask],
) -> None:
    make_app()
    cause, above = Exception("SQL"), Broken()
    cause.hide_parameters = False  # type: ignore[attr-defined]
    above.__cause__ = cause
    logging.getLogger("app").error("Lost", exc_info=above)
    assert cause.hide_parameters is True  # type: ignore[attr-defined]


def test_making_an_app_opens_no_file_and_starts_no_thread(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    before = {thread.name for thread in threading.enumerate()}
    make_app()
    assert {thread.name for thread in threading.enumerate()} == before
    assert not (tmp_path / "logs").exists()
    assert not (tmp_path / "spool").exists()


def test_a_second_app_in_one_process_does_not_report_twice(
    make_app: Callable[..., Flask], read_reports: ReadReports
) -> None:
    make_app()
    make_app()
    logging.getLogger("app").error("boom")
    assert len(read_reports()) == 1


def test_nothing_is_written_in_debug_mode(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    make_app(FLASK_DEBUG=True)
    logging.getLogger("app").error("boom")
    assert not (tmp_path / "logs").exists()
    assert not (tmp_path / "spool").exists()


def test_a_spool_that_cannot_be_written_causes_only_a_line_on_stderr(
    make_app: Callable[..., Flask], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "spool").touch()
    make_app()
    logging.getLogger("app").error("boom")
    complaint = capsys.readouterr().err
    assert str(tmp_path / "spool") in complaint
    assert "could not be written to the spool" in complaint
    assert "kept in memory" in complaint


def test_a_damaged_database_does_not_affect_the_caller(
    make_app: Callable[..., Flask], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = make_app()
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "reports.db").write_bytes(b"this is no database" * 1000)
    logging.getLogger("app").error("boom")
    assert in_files(app.extensions["mayday"].courier.outbox) == ["boom"]
    assert "spool" not in capsys.readouterr().err


def test_reports_in_memory_are_written_at_exit_or_counted_on_stderr(
    make_app: Callable[..., Flask],
    read_reports: ReadReports,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "spool").touch()
    make_app()
    (handler,) = our_handlers()
    logging.getLogger("app").error("boom")
    handler.close()
    assert "1 error could not be written to the spool" in capsys.readouterr().err
    (tmp_path / "spool").unlink()
    handler.close()
    assert [report.message for report in read_reports()] == ["boom"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("trouble", ["closed", "full"])
def test_a_broken_stderr_does_not_affect_the_caller(
    make_app: Callable[..., Flask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    (tmp_path / "spool").touch()
    make_app()
    broken = open("/dev/full", "w", buffering=1)  # noqa: SIM115 - it cannot be closed quietly
    if trouble == "closed":
        broken.close()
    monkeypatch.setattr("sys.stderr", broken)
    logging.getLogger("app").error("boom")
    monkeypatch.undo()
    with contextlib.suppress(OSError):
        broken.close()


def test_an_error_of_the_reporter_itself_does_not_loop(
    make_app: Callable[..., Flask],
    read_reports: ReadReports,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_app()

    def failing(*arguments: object) -> Report:
        logging.getLogger("flask_mayday.reporting.setup").error("the reporter has failed")
        raise RuntimeError("boom in the reporter")

    monkeypatch.setattr("flask_mayday.report.builder.ReportBuilder.build", failing)
    logging.getLogger("app").error("boom")
    assert read_reports() == []
    assert "boom in the reporter" in capsys.readouterr().err


def test_threads_do_not_wait_for_each_other(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_app()
    (handler,) = our_handlers()
    both = threading.Barrier(2, timeout=60)
    met = []

    def meet(record: logging.LogRecord) -> None:
        both.wait()
        met.append(record)

    monkeypatch.setattr(handler, "emit", meet)
    record = logging.LogRecord("app", logging.ERROR, __file__, 1, "boom", (), None)
    threads = [threading.Thread(target=handler.handle, args=(record,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(met) == 2


def test_a_filter_on_the_handler_is_obeyed(
    make_app: Callable[..., Flask], read_reports: ReadReports
) -> None:
    make_app()
    (handler,) = our_handlers()
    handler.addFilter(lambda record: "kept" in record.getMessage())
    logging.getLogger("app").error("dropped")
    logging.getLogger("app").error("kept")
    assert [report.message for report in read_reports()] == ["kept"]


def test_an_unregistered_pipeline_reports_nothing(
    make_app: Callable[..., Flask], read_reports: ReadReports
) -> None:
    registry.unregister(make_app().extensions["mayday"])
    logging.getLogger("app").error("boom")
    assert read_reports() == []


def test_reports_made_without_a_mail_server_are_stored_and_never_mailed(
    make_app: Callable[..., Flask], mail_settings: dict[str, object], tmp_path: Path
) -> None:
    first = make_app()
    logging.getLogger("app").error("without")
    registry.unregister(first.extensions["mayday"])
    make_app(**mail_settings)
    logging.getLogger("app").error("with")
    rows = query(tmp_path / "spool", "SELECT mailable FROM reports ORDER BY time")
    assert rows == [(0,), (1,)]
