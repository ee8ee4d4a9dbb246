"""The webhook, posted to a real server that accepts, refuses, hangs, redirects and fails."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from flask_mayday.courier import http_request, webhook_formats
from flask_mayday.courier import smtp_session as smtp
from flask_mayday.courier.courier import Courier
from flask_mayday.courier.http_request import DirectConnection
from flask_mayday.courier.webhook import WebhookDelivery, post_test
from flask_mayday.settings import Settings, read_settings
from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outbox import Outbox
from flask_mayday.spool.posts import posts_by_state
from tests.support.reports import a_delivery, a_report, query
from tests.support.webhook_server import WebhookServer

START = 1_767_225_600.0  # 2026-01-01
HOUR = 3600.0


@pytest.fixture
def server() -> Iterator[WebhookServer]:
    made = WebhookServer()
    yield made
    made.close()


class Posting:
    """A spool and its webhook, with a simulated clock."""

    timeout = 20.0

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.now = START
        self.outbox = Outbox(settings.spool.folder, settings.spool.max_bytes)
        self.mailbox = Mailbox(self.outbox)
        stopping = threading.Event()
        self.delivery = a_delivery(
            self.mailbox, settings, webhook=settings.webhook, stopping=stopping
        )
        self.webhook = WebhookDelivery(
            self.mailbox, settings.webhook, stopping, clock=lambda: self.now
        )

    def fail(self, kind: str, message: str = "") -> None:
        report = a_report(
            message or f"boom {kind}", fingerprint=kind, time=self.now, type="ValueError"
        )
        self.outbox.put(report, mailable=True)
        self.mailbox.take_incoming()
        self.delivery.planner.plan(self.now)

    def post(self) -> None:
        # Long enough for a stop of the machine, except where the receiver hangs.
        self.webhook.run(self.now, timeout=self.timeout)

    def pass_time(self, seconds: float, step: float = 20.0) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += step
            self.post()

    def waits(self) -> int:
        return posts_by_state(self.mailbox).get("waiting", 0)


@pytest.fixture
def make_posting(tmp_path: Path, server: WebhookServer) -> Iterator[Callable[..., Posting]]:
    made: list[Posting] = []

    def make(**settings: object) -> Posting:
        known: dict[str, object] = {
            "SPOOL_DIR": tmp_path / "spool",
            "LOG_DIR": tmp_path,
            "REPORT_WEBHOOK_URL": server.url,
            "WEBHOOK_ALLOW": "127.0.0.0/8",
        }
        made.append(Posting(read_settings({**known, **settings}, environ={})))
        return made[-1]

    yield make
    for posting in made:
        posting.mailbox.close()
        posting.outbox.close()


@pytest.fixture
def posting(make_posting: Callable[..., Posting]) -> Posting:
    return make_posting()


def test_a_report_is_posted_without_a_mail_server(posting: Posting, server: WebhookServer) -> None:
    posting.fail("a")
    posting.post()
    (message,) = server.messages()
    assert message["kind"] == "report"
    assert message["count"] == 1
    assert message["fingerprint"] == "a"
    assert "boom a" in message["text"]
    assert posting.waits() == 0


def refuse(server: WebhookServer) -> Callable[[], None]:
    """Let nothing listen on the server's port; return a function that ends this."""
    server.server.shutdown()
    server.server.server_close()

    def back() -> None:
        again = WebhookServer(server.port)
        again.accepted = server.accepted
        server.server = again.server

    return back


def answer_with(status: int | str, **headers: str) -> Callable[[WebhookServer], Any]:
    def change(server: WebhookServer) -> Callable[[], None]:
        server.answer, server.answer_headers = status, headers

        def back() -> None:
            server.release.set()
            server.answer, server.answer_headers = 200, {}

        return back

    return change


TROUBLES = {
    "refuses": refuse,
    "hangs": answer_with("hang"),
    "redirects": answer_with(302, Location="http://127.0.0.1:1/"),
    "500": answer_with(500),
    "400": answer_with(400),
    "404": answer_with(404),
    "429": answer_with(429, **{"Retry-After": "120"}),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_everything_is_posted_once_the_receiver_is_back(
    posting: Posting, server: WebhookServer, trouble: str
) -> None:
    """After an hour of trouble; counted by id."""
    back = TROUBLES[trouble](server)
    posting.timeout = 0.3 if trouble == "hangs" else posting.timeout
    for number in range(20):
        posting.fail(f"kind {number}")
        posting.post()
        posting.pass_time(HOUR / 20, step=HOUR / 40 if trouble == "hangs" else 30)
    assert server.accepted == []
    assert posting.waits() == 20
    back()
    posting.timeout = Posting.timeout
    posting.pass_time(2 * HOUR, step=60)
    assert posting.waits() == 0
    assert sum(message["count"] for message in server.messages()) == 20


def test_a_receiver_that_is_down_is_not_tried_for_each_message(
    posting: Posting, server: WebhookServer
) -> None:
    server.answer = 500
    for number in range(30):
        posting.fail(f"kind {number}")
        posting.post()
    assert server.tried < 5


def test_a_redirect_is_not_followed(posting: Posting, server: WebhookServer) -> None:
    other = WebhookServer()
    with closing(other):
        server.answer, server.answer_headers = 307, {"Location": other.url}
        posting.fail("a")
        posting.post()
    assert other.tried == 0


def test_a_message_refused_for_its_content_is_posted_without_it(
    posting: Posting, server: WebhookServer
) -> None:
    server.refuse_word = "pills"
    posting.fail("spam", "buy pills")
    posting.fail("good")
    posting.pass_time(HOUR)
    assert posting.waits() == 0
    reduced = next(one for one in server.messages() if one["fingerprint"] == "spam")
    assert reduced["count"] == 1
    assert "pills" not in json.dumps(reduced)


def test_a_receiver_that_answers_byte_by_byte_times_out(posting: Posting) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return

        threading.Thread(target=drip, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        allow = posting.settings.webhook.allow
        with pytest.raises(TimeoutError):
            http_request.send_request("POST", url, timeout=0.5, allow=allow)
        stop.set()


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.17.0.2", "192.168.0.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fd00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1"),
    ],
)
def test_addresses_inside_the_network_are_refused_unless_allowed(address: str) -> None:
    assert not http_request.is_allowed(ip_address(address), ())
    assert http_request.is_allowed(ip_address(address), (ip_network(address),))


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert http_request.is_allowed(ip_address(address), ())


def test_a_request_that_is_over_before_it_has_a_connection_fails(server: WebhookServer) -> None:
    parts = urlsplit(server.url)
    assert parts.hostname is not None
    assert parts.port is not None
    address = (parts.hostname, parts.port)
    with closing(DirectConnection(*address, address, 5.0, None)) as connection:
        connection.abort()  # as its timer does, from another thread
        with pytest.raises(TimeoutError):
            connection.request("POST", "/")


def test_the_words_of_a_reply_are_safe_to_print(posting: Posting, server: WebhookServer) -> None:
    server.answer, server.answer_body = 400, "\x1b[31mno\r\n\u202eway\x9b2J".encode()
    reason = post_test(posting.settings.webhook, posting.settings.app)
    assert reason == "answered 400 [31mno way 2J"


def test_an_inner_address_is_not_posted_to(
    make_posting: Callable[..., Posting], server: WebhookServer
) -> None:
    posting = make_posting(WEBHOOK_ALLOW="")
    posting.fail("a")
    posting.post()
    assert server.tried == 0
    rows = posting.mailbox.connection.execute("SELECT error FROM posts").fetchall()
    assert "WEBHOOK_ALLOW" in rows[0][0]


def test_the_host_is_resolved_once(
    posting: Posting, server: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second answer could be an address inside the network."""
    asked = []
    real = socket.getaddrinfo

    def resolve(host: str, *rest: Any, **options: Any) -> Any:
        if host == "hook.example":
            asked.append(host)
            return real("127.0.0.1", *rest, **options)
        return real(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    allow = posting.settings.webhook.allow
    url = f"http://hook.example:{server.port}/x"
    reply = http_request.send_request("POST", url, timeout=5, allow=allow)
    assert (reply.status, asked) == (200, ["hook.example"])


def test_the_address_is_in_no_stored_error(posting: Posting, server: WebhookServer) -> None:
    server.answer, server.answer_headers = 404, {}
    posting.fail("a")
    posting.post()
    shown = str(posting.mailbox.connection.execute("SELECT error FROM posts").fetchall())
    assert "404" in shown
    assert "a-secret-token" not in shown


@pytest.mark.parametrize("name", ["slack", "mattermost", "discord", "ntfy", "json"])
def test_each_format_takes_any_text_and_lets_no_visitor_mention_anybody(name: str) -> None:
    evil = "<!channel> @everyone @all ``` **x** \u202e\x00 Ünïcode\n" * 200
    message = {"id": "1", "subject": evil, "text": evil, "kind": "report", "count": 1}
    body, headers = webhook_formats.encode(message, name)
    assert all(value.isascii() and "\n" not in value for value in headers.values())
    if name == "ntfy":
        assert len(body) <= 4096
        return
    content = json.loads(body)
    if name == "slack":
        assert "<!" not in content["text"]
    if name == "discord":
        assert content["allowed_mentions"] == {"parse": []}
        assert len(content["content"]) <= 2000
    if name == "mattermost":
        title, block = content["text"].split("\n", 1)
        assert "@all" not in title
        assert block.count("```") == 2


# Both channels at once, with the courier's threads


@pytest.fixture
def start_courier(tmp_path: Path, server: WebhookServer) -> Iterator[Callable[..., Courier]]:
    started: list[Courier] = []

    def start(**settings: object) -> Courier:
        known: dict[str, object] = {
            "SPOOL_DIR": tmp_path / "spool",
            "LOG_DIR": tmp_path,
            "REPORT_WEBHOOK_URL": server.url,
            "WEBHOOK_ALLOW": "127.0.0.0/8",
        }
        read = read_settings({**known, **settings}, environ={})
        outbox = Outbox(read.spool.folder, read.spool.max_bytes)
        groups = {"mail": read.mail, "reports": read.reports, "app": read.app}
        courier = Courier(outbox, **groups, webhook=read.webhook)  # type: ignore[arg-type]
        started.append(courier)
        courier.ensure_running()
        return courier

    yield start
    for courier in started:
        courier.stop(10)


def test_the_webhook_works_while_the_mail_server_is_down(
    start_courier: Callable[..., Courier],
    server: WebhookServer,
    wait_until: Callable[..., Any],
) -> None:
    courier = start_courier(MAIL_SERVER="127.0.0.1", MAIL_PORT=1, ADMINS="a@example.com")
    courier.outbox.put(a_report("boom"), mailable=True)
    courier.wake()
    wait_until(lambda: len(server.messages()) == 1, "the post")
    states = "SELECT state FROM mails"
    assert query(courier.outbox.folder, states) == [("waiting",)]
    assert courier.state()["webhook"] == "ok"


def test_a_webhook_that_hangs_does_not_delay_mail(
    start_courier: Callable[..., Courier],
    server: WebhookServer,
    wait_until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = []

    def send(_: Any, to: Any, content: bytes) -> Any:
        sent.append(content)
        return smtp.Verdict(smtp.Fate.DELIVERED)

    run = WebhookDelivery.run

    def run_with_patience(self: WebhookDelivery, now: float) -> None:
        run(self, now, timeout=300.0)  # longer than this test waits for the mails

    monkeypatch.setattr(WebhookDelivery, "run", run_with_patience)
    monkeypatch.setattr(smtp.SmtpSession, "send", send)
    server.answer = "hang"
    courier = start_courier(MAIL_SERVER="127.0.0.1", MAIL_PORT=1, ADMINS="a@example.com")
    courier.outbox.put(a_report("boom", fingerprint="a"), mailable=True)
    courier.wake()
    wait_until(lambda: server.tried == 1, "the post that hangs")
    courier.outbox.put(a_report("boom", fingerprint="b"), mailable=True)
    courier.wake()
    wait_until(lambda: len(sent) == 2, "both mails")
    server.release.set()


def test_an_error_of_any_type_does_not_end_the_thread(
    start_courier: Callable[..., Courier],
    server: WebhookServer,
    wait_until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failures = iter([ValueError("a bug")])
    run = WebhookDelivery.run

    def fail_once(self: WebhookDelivery, now: float, timeout: float = 10.0) -> None:
        for failure in failures:
            raise failure
        run(self, now, timeout)

    monkeypatch.setattr(WebhookDelivery, "run", fail_once)
    courier = start_courier()
    courier.outbox.put(a_report("boom"), mailable=True)
    courier.wake()
    wait_until(lambda: len(server.messages()) == 1, "the post")
