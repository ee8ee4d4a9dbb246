"""Password hashes: their scheme, its renewal, and how many are computed at a time."""

from __future__ import annotations

import threading

import pytest
from argon2 import extract_parameters
from sqlalchemy import select
from werkzeug.security import generate_password_hash

from app import passwords
from app.database import db
from app.models import LoginAttempts, User
from tests.support.visitor import PASSWORD
from tests.unit.blog.conftest import FAST_HASH, ClientVisitor

HASHER = passwords.HASHER  # before the fixture replaces it
DUMMY = passwords.DUMMY
OLD_HASH = generate_password_hash(PASSWORD)


def test_a_hash_has_the_parameters_that_owasp_recommends():
    found = extract_parameters(HASHER.hash(PASSWORD))
    assert (found.type.name, found.memory_cost, found.time_cost) == ("ID", 19 * 1024, 2)


def test_the_dummy_hashes_have_the_schemes_of_real_ones():
    assert not HASHER.check_needs_rehash(DUMMY)
    assert passwords.OLD_DUMMY.split("$")[0] == OLD_HASH.split("$")[0]
    assert len(passwords.OLD_DUMMY) == len(OLD_HASH)


@pytest.mark.parametrize("with_old", [True, False])
def test_only_the_right_password_matches(with_old):
    new = passwords.hash_password(PASSWORD)
    assert passwords.check_password(PASSWORD, new, with_old=with_old) == new
    renewed = passwords.check_password(PASSWORD, OLD_HASH, with_old=with_old)
    assert renewed.startswith(passwords.ARGON2)
    assert passwords.check_password(PASSWORD, renewed) == renewed
    for stored in (new, OLD_HASH, None):
        assert passwords.check_password("wrong", stored, with_old=with_old) is None


def test_a_login_replaces_an_old_hash(app, visitor):
    with app.app_context():
        db.session.add(User(username="susan", email="s@example.com", password_hash=OLD_HASH))
        db.session.commit()
    assert visitor.log_in("susan").url == "/"
    with app.app_context():
        assert db.session.scalar(select(User.password_hash)).startswith(passwords.ARGON2)
    assert ClientVisitor(app).log_in("susan").url == "/"


@pytest.mark.parametrize("known", [OLD_HASH, FAST_HASH], ids=["old hash", "new hash"])
def test_an_unknown_name_costs_the_same_hashes_as_a_known_one(app, visitor, monkeypatch, known):
    checked = []

    def note(check):
        def noted(stored, password):
            checked.append(stored.partition("$")[0] or stored.split("$")[1])
            return check(stored, password)

        return noted

    monkeypatch.setattr(passwords, "_matches_new", note(passwords._matches_new))
    monkeypatch.setattr(passwords, "check_password_hash", note(passwords.check_password_hash))
    with app.app_context():
        db.session.add(User(username="john", email="j@example.com", password_hash=OLD_HASH))
        db.session.add(User(username="susan", email="s@example.com", password_hash=known))
        db.session.commit()
    for name in ("susan", "nobody", "/"):
        visitor.send("/login", username=name, password="a wrong password")
    assert checked == ["argon2id", "scrypt:32768:8:1"] * 3


def test_two_hashes_at_a_time_and_a_third_is_a_503(app, visitor, monkeypatch, read_reports):
    monkeypatch.setattr(passwords, "SLOT_TIMEOUT", 0.01)
    entered, leave = threading.Semaphore(0), threading.Event()

    def hold():
        entered.release()
        leave.wait(60)

    threads = [
        threading.Thread(target=passwords.in_slot, args=(hold, 20)) for _ in range(passwords.SLOTS)
    ]
    for thread in threads:
        thread.start()
        assert entered.acquire(timeout=60)
    try:
        answer = visitor.send("/login", username="nobody", password=PASSWORD)
    finally:
        leave.set()
        for thread in threads:
            thread.join()
    assert answer.status == 503
    with app.app_context():
        assert db.session.scalars(select(LoginAttempts.count)).all() == [0]  # no failed login
    assert [report.type for report in read_reports()] == ["TooManyLoginsError"]
    assert visitor.send("/login", username="nobody", password=PASSWORD).status == 200
