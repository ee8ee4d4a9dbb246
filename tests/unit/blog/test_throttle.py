"""Failed logins delay the next one: by account, by address, by browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, text

from app.auth import clients, throttle
from app.auth.throttle import Limit
from app.database import db
from app.models import LoginAttempts
from tests.support.visitor import PASSWORD
from tests.unit.blog.conftest import ClientVisitor

ROUTES = """\
Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
eth0\t00000000\t010017AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth1\t000018AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth1\tFF0019AC\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0
"""  # a gateway 172.23.0.1, a network 172.24.0.0, and a host 172.25.0.255


def guess(visitor, name="susan", address="127.0.0.1"):
    """Send a wrong password; return the response."""
    data = {"username": name, "password": "wrong", "csrf_token": visitor.token("/login")}
    return visitor.client.post("/login", data=data, environ_base={"REMOTE_ADDR": address})


@pytest.fixture(autouse=True)
def stopped_clock(clock):
    """Let no time pass between two guesses, however slow the machine is."""


@pytest.fixture(autouse=True)
def no_gateway(monkeypatch, tmp_path):
    """Count guesses from every address but loopback, whatever this machine's gateway is."""
    monkeypatch.setattr(clients, "ROUTES", tmp_path / "none")


def test_the_delay_grows_to_a_minute():
    limit = Limit("account susan", 5, resets=True)
    delays = [limit.delay(failures).total_seconds() for failures in range(14)]
    assert delays == [0] * 5 + [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert limit.delay(1_000_000).total_seconds() == 60


@pytest.mark.parametrize("name", ["susan", "nobody"])
def test_the_sixth_guess_is_refused_whether_or_not_the_account_exists(app, visitor, name, clock):
    visitor.register("susan")
    assert [guess(visitor, name).status_code for _ in range(5)] == [200] * 5
    answer = guess(visitor, name.upper())
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "1"
    assert "Too many failed logins. Try again in 1 second." in answer.text
    clock.pass_seconds(1)
    assert guess(visitor, name).status_code == 200
    assert guess(visitor, name).headers["Retry-After"] == "2"


def test_refused_guesses_do_not_extend_the_delay(app, visitor, clock):
    visitor.register("susan")
    for _ in range(40):
        guess(visitor)
    assert guess(visitor).headers["Retry-After"] == "1"
    clock.pass_seconds(1)
    assert "Hi, susan!" in visitor.log_in("susan").text


def test_a_login_resets_the_counter_of_its_account(app, visitor):
    visitor.register("susan")
    for _ in range(4):
        guess(visitor)
    visitor.log_in("susan")
    assert [guess(ClientVisitor(app)).status_code for _ in range(5)] == [200] * 5


def test_failures_are_forgotten_after_a_while(app, visitor, clock):
    for _ in range(5):
        guess(visitor)
    clock.pass_seconds(throttle.MEMORY.total_seconds() + 1)
    assert [guess(visitor).status_code for _ in range(5)] == [200] * 5


def test_a_clock_that_was_set_back_delays_nobody(visitor, clock):
    for _ in range(5):
        guess(visitor)
    clock.pass_seconds(-3600)
    assert guess(visitor).headers["Retry-After"] == "1"
    clock.pass_seconds(1)
    assert guess(visitor).status_code == 200


def test_a_browser_that_was_logged_in_before_is_not_delayed_by_the_guesses_of_others(
    app, visitor, clock
):
    visitor.register("susan")
    visitor.log_in("susan")
    visitor.open("/logout", csrf_token=visitor.token("/edit_profile"))
    attacker = ClientVisitor(app)
    for _ in range(20):
        guess(attacker)
        clock.pass_seconds(60)
    guess(attacker)
    assert guess(attacker).status_code == 429
    assert "Hi, susan!" in visitor.log_in("susan").text
    # Its own guesses are counted.
    visitor.open("/logout", csrf_token=visitor.token("/edit_profile"))
    assert [guess(visitor).status_code for _ in range(6)] == [200] * 5 + [429]


def test_the_cookie_of_another_user_or_a_forged_one_does_not_help(app, visitor):
    visitor.register("susan")
    attacker = ClientVisitor(app)
    attacker.register("mallory")
    attacker.log_in("mallory")
    attacker.open("/logout", csrf_token=attacker.token("/edit_profile"))
    assert [guess(attacker).status_code for _ in range(6)] == [200] * 5 + [429]
    attacker.client.set_cookie("microblog_device", "WzEsIngiXQ.forged")
    assert guess(attacker).status_code == 429


def test_guesses_for_many_accounts_are_limited_by_address(visitor, app):
    for number in range(20):
        assert guess(visitor, f"name{number}", "203.0.113.7").status_code == 200
    assert guess(visitor, "another", "203.0.113.7").status_code == 429
    assert guess(visitor, "another", "203.0.113.8").status_code == 200


def test_logins_that_succeed_do_not_count_against_their_address(app, visitor):
    visitor.register("susan")
    for _ in range(25):
        other = ClientVisitor(app)
        data = {"username": "susan", "password": PASSWORD, "csrf_token": other.token("/login")}
        answer = other.client.post("/login", data=data, environ_base={"REMOTE_ADDR": "192.0.2.1"})
        assert answer.status_code == 302


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("127.0.0.1", None),
        ("::1", None),
        ("172.23.0.1", None),
        ("172.24.0.1", None),
        ("172.24.0.2", "172.24.0.2/32"),
        ("203.0.113.7", "203.0.113.7/32"),
        ("::ffff:203.0.113.7", "203.0.113.7/32"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", None),
        (None, None),
        ("unix:", None),
    ],
)
def test_an_address_that_many_clients_share_is_not_counted(monkeypatch, tmp_path, address, network):
    routes = tmp_path / "route"
    routes.write_text(ROUTES)
    monkeypatch.setattr(clients, "ROUTES", Path(routes))
    found = clients._network_of(address)
    assert (str(found) if found else None) == network


def test_a_json_client_is_told_when_to_try_again(visitor):
    for _ in range(5):
        guess(visitor)
    data = {"username": "susan", "password": "x", "csrf_token": visitor.token("/login")}
    answer = visitor.client.post("/login", data=data, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.mimetype) == (429, "application/problem+json")
    assert answer.headers["Retry-After"] == "1"


def test_logins_work_without_the_counters(app, visitor, caplog):
    visitor.register("susan")
    with app.app_context():
        db.session.execute(text("DROP TABLE login_attempts"))
        db.session.commit()
    assert "Hi, susan!" in visitor.log_in("susan").text
    assert "Failed logins cannot be counted: OperationalError" in caplog.text


def test_limits_can_be_switched_off(make_app):
    app = make_app(LOGIN_LIMITS=False)
    with app.app_context():
        db.create_all()
    visitor = ClientVisitor(app)
    assert [guess(visitor).status_code for _ in range(8)] == [200] * 8


def test_the_counters_do_not_show_what_was_typed_as_a_name(app, visitor):
    guess(visitor, "my-password-by-mistake")
    with app.app_context():
        (key,) = db.session.scalars(select(LoginAttempts.key))
    assert len(key) == 64
    assert "mistake" not in key


def test_outdated_counters_are_deleted(app, visitor, clock):
    visitor.register("susan")
    for number in range(3):
        guess(visitor, f"name{number}")
    clock.pass_seconds(2 * throttle.MEMORY.total_seconds())
    visitor.log_in("susan")
    with app.app_context():
        assert db.session.scalars(select(LoginAttempts.key)).all() == []


def test_logins_that_succeed_do_not_prolong_the_failures_of_their_address(app, visitor, clock):
    visitor.register("susan")
    for number in range(20):
        guess(visitor, f"name{number}", "192.0.2.1")
    for _ in range(3):
        clock.pass_seconds(throttle.MEMORY.total_seconds() / 2)
        for _ in range(2):
            other = ClientVisitor(app)
            data = {"username": "susan", "password": PASSWORD, "csrf_token": other.token("/login")}
            sender = {"REMOTE_ADDR": "192.0.2.1"}
            assert other.client.post("/login", data=data, environ_base=sender).status_code == 302
    with app.app_context():
        assert set(db.session.scalars(select(LoginAttempts.count))) <= {0}
