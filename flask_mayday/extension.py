"""The extension object, :class:`Mayday`, which connects this package to Flask apps."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from flask import Flask, abort, got_request_exception, request, request_started
from flask import globals as flask_globals

from . import database
from .cli import add_commands
from .context import request_id, trace_context
from .context.record_fields import CONTEXT
from .drill.routes import DrillRoutes
from .middlewares import wrap
from .pages.error_pages import ErrorPages, Unavailable
from .redaction.config import secrets_of_config
from .redaction.redactor import Redactor
from .report.report import Report
from .report.request import NOBODY, ROUTE, session_of
from .reporting import registry
from .reporting.pipeline import Pipeline
from .settings import Settings, read_settings

ErrorT = TypeVar("ErrorT", bound=Exception)
BeforeReportT = TypeVar("BeforeReportT", bound=Callable[[Report], Report | None])
FingerprintT = TypeVar("FingerprintT", bound=Callable[[Report], str | None])

UserFunction = Callable[[], object]  # returns the id of the current user, or None

logger = logging.getLogger("flask_mayday")


def _always(error: Exception) -> bool:
    del error
    return True


class Mayday:
    """Error pages, error mails, a rotating log and request ids for a Flask app.

    Opens no file and starts no thread before the first request or record::

        mayday = Mayday()

        def create_app():
            app = Flask(__name__)
            mayday.init_app(app)
            return app

    One object may serve several apps. Settings are read in :meth:`init_app`, from ``app.config``
    and the environment, so set the configuration first.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._secrets: list[str] = []
        self._before_report: list[Callable[[Report], Report | None]] = []
        self._fingerprints: list[Callable[[Report], str | None]] = []
        self._unavailable: list[Unavailable] = []
        self._user: UserFunction | None = None
        self._pipelines: weakref.WeakSet[Pipeline] = weakref.WeakSet()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Connect Flask Mayday to ``app``: report its errors, answer those that it does not handle.

        Calling it twice for the same app does nothing the second time. Raises
        :exc:`ConfigurationError`, which names every invalid setting, its value and the fix.
        """
        if "mayday" in app.extensions:
            return
        settings = read_settings(
            app.config, import_name=app.import_name, instance_path=Path(app.instance_path)
        )
        pipeline = self._pipeline_of(app, settings)
        pages = ErrorPages(app, settings)
        pages.unavailable = self._unavailable
        pages.install()
        app.extensions["mayday"] = pipeline
        app.extensions["mayday_hooks"] = _Hooks(app, pages, lambda: self._user)
        wrap(app, pipeline)
        self._pipelines.add(pipeline)
        registry.register(pipeline)
        registry.lower_root_level(settings.log.level)
        database.watch_slow_statements()
        add_commands(app)

    def request_id(self) -> str | None:
        """Return the id of the current request, 32 hex digits; ``None`` outside of a request.

        It is also in the ``X-Request-ID`` header, on the error page, in the mail and in the log::

            requests.get(url, headers={"X-Request-ID": mayday.request_id()})
        """
        return request_id.current()

    def traceparent(self) -> str | None:
        """Return the ``traceparent`` header for a request to another service.

        ``None`` if the current request belongs to no trace, because no trusted proxy has sent one
        (W3C Trace Context)::

            if header := mayday.traceparent():
                requests.get(url, headers={"traceparent": header})
        """
        trace = trace_context.trace_of(request_id.current_environ())
        return None if trace is None else trace.header()

    def capture(self, error: BaseException, /, **context: object) -> None:
        """Report an exception that the app has handled.

        ``context`` is shown in the mail, with secrets masked::

            try:
                pay(order)
            except PaymentError as error:
                mayday.capture(error, order=order.id)
        """
        logger.error(
            "Captured %s",
            type(error).__name__,
            exc_info=(type(error), error, error.__traceback__),
            extra={CONTEXT: context},
            stacklevel=2,
        )

    def unavailable(
        self,
        kind: type[ErrorT],
        when: Callable[[ErrorT], bool] = _always,
        message: str = "A service that this app needs is unavailable",
    ) -> None:
        """Answer 503 with ``Retry-After``, instead of 500, if a view raises ``kind``.

        ``when`` is called with the exception, and returns whether it means an outage.
        ``message`` is the message of the report. All errors with the same message form one error
        group, whichever view raises them::

            mayday.unavailable(redis.ConnectionError)
            mayday.unavailable(SQLAlchemyError, when=is_unavailable)
        """
        self._unavailable.append(Unavailable(kind, when, message))

    def add_secret(self, value: str) -> None:
        """Mask ``value`` in every mail, log line, page and report from now on.

        Passwords and tokens in ``app.config`` and in the environment are known already. Values of
        fewer than 8 characters are ignored, since they occur in ordinary text::

            mayday.add_secret(vault.read("stripe"))
        """
        self._secrets.append(value)
        for pipeline in self._pipelines:
            pipeline.redactor.add_secret(value)

    def before_report(self, function: BeforeReportT) -> BeforeReportT:
        """Register a function that may change each report, or drop it by returning ``None``.

        The function gets a frozen :class:`Report` and returns it or a changed copy. Each dropped
        report is logged, with the number dropped so far::

            @mayday.before_report
            def without_bots(report):
                return None if report.type == "BotError" else report
        """
        self._before_report.append(function)
        return function

    def fingerprint(self, function: FingerprintT) -> FingerprintT:
        """Register a function that decides which errors are identical.

        It gets a :class:`Report` and returns a string that identical errors share, or ``None`` for
        the default. For a single exception class, the attribute ``report_fingerprint`` does the
        same::

            @mayday.fingerprint
            def one_group_for_timeouts(report):
                return "timeout" if report.type == "TimeoutError" else None
        """
        self._fingerprints.append(function)
        return function

    def user(self, function: Callable[[], object]) -> Callable[[], object]:
        """Register a function that returns the current user, or ``None``, for mails and the log.

        It is needed only without Flask-Login. It is called at the end of each request and when a
        request fails, so it must not query the database::

            @mayday.user
            def user():
                return session.get("account")
        """
        self._user = function
        return function

    def _pipeline_of(self, app: Flask, settings: Settings) -> Pipeline:
        redactor = Redactor([*settings.secret_values, *known_secrets(app)], settings.secret_names)
        for value in self._secrets:
            redactor.add_secret(value)
        pipeline = Pipeline(
            settings,
            redactor,
            root_path=app.root_path,
            is_off=lambda: app.debug or app.testing,
        )
        pipeline.reports.before_report = self._before_report
        pipeline.reports.fingerprints = self._fingerprints
        return pipeline


def known_secrets(app: Flask) -> tuple[str, ...]:
    """Return the secret values in an app's configuration and in the environment."""
    return secrets_of_config(app.config, os.environ)


def _user_of_session() -> object:
    """Return the user's id from the open session or from the loaded user, or ``None``.

    It never loads a user, which could query a dead database, and never uses ``flask.session``,
    which would make the response vary with the cookie.
    """
    context: Any = flask_globals.request_ctx
    session = session_of(context._get_current_object())
    if isinstance(session, dict) and (user := dict.get(session, "_user_id")) is not None:
        return user
    loaded = vars(flask_globals.g._get_current_object()).get("_login_user")
    return vars(loaded).get("id") if hasattr(loaded, "__dict__") else None


class _Hooks:
    """The extension's functions that Flask calls during each request of one app.

    Signals refer to it weakly, so that it is freed with the app.
    """

    def __init__(
        self, app: Flask, pages: ErrorPages, get_user_function: Callable[[], UserFunction | None]
    ) -> None:
        self.drill = DrillRoutes(pages) if pages.settings.drill else None
        self.get_user_function = get_user_function
        self._is_first = True
        request_started.connect(self.begin, app)
        got_request_exception.connect(self.note_exception, app)
        # At the beginning, so that it runs before any login or CSRF check of the app.
        app.before_request_funcs.setdefault(None, []).insert(0, self.before_the_app)
        app.teardown_request(self.note_user)

    def begin(self, sender: Flask, **_: object) -> None:
        """Store the route and the session's user in the WSGI environment, for a report."""
        if self._is_first:  # not earlier: other extensions may be initialised later
            self._is_first = False
            database.roll_back_at_teardown(sender)
            database.watch_slow_statements()
        rule, environ = request.url_rule, request.environ
        if rule is not None:
            environ[ROUTE] = rule.rule
        user = _user_of_session()
        environ[request_id.SESSION_USER_KEY] = NOBODY if user is None else user

    def note_exception(self, sender: Flask, exception: Exception, **_: object) -> None:
        """Store the exception for the middleware, which reports it if nothing has logged it."""
        del sender
        request.environ[request_id.EXCEPTION_KEY] = exception
        self.note_user()

    def before_the_app(self) -> Any:
        """Answer a request for a drill, or refuse a host name that cannot be decoded."""
        _refuse_unreadable_host()
        return self.drill.answer() if self.drill is not None else None

    def note_user(self, error: BaseException | None = None) -> None:
        """Store the user's id in the WSGI environment, for the access line and the report."""
        del error
        try:
            function = self.get_user_function()
            user = function() if function is not None else _user_of_session()
            if user is not None:
                request.environ[request_id.USER_KEY] = str(user)
        except Exception as failure:
            logger.debug("The user of a request could not be read: %s", type(failure).__name__)


def _refuse_unreadable_host() -> None:
    """Answer 400 if the host name cannot be decoded: no URL can be built with it."""
    if "xn--" in request.environ.get("HTTP_HOST", "").lower():
        try:
            _ = request.host_url
        except UnicodeError:
            abort(400, "The host name in the address is not valid: check the address.")
