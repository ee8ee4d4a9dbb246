"""Errors, mutes, resolves, rules, releases and restarts, in many random orders.

EXAMPLES=10000 runs as many sequences; the default is enough to find a mistake soon.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from flask_mayday.courier import messages
from flask_mayday.settings import read_settings
from flask_mayday.spool import groups
from flask_mayday.spool.error_group import MUTED, ErrorGroup, State
from flask_mayday.spool.grouping import hide_matching, hide_pending
from flask_mayday.spool.ignore_rules import IgnoreRule, add_rule, delete_rule, ignore_rules
from flask_mayday.spool.inventory import Inventory
from flask_mayday.spool.mailbox import Mailbox
from flask_mayday.spool.outbox import Outbox
from tests.support.reports import a_delivery, a_report

EXAMPLES = int(os.environ.get("EXAMPLES", "60"))
STEPS = 40
START = 1_767_225_600.0  # 2026-01-01
WINDOW = 300
KINDS = ("a", "b", "c")


class Model:
    """What must be true, computed in the simplest way, beside the real spool."""

    def __init__(self) -> None:
        self.recorded: Counter[str] = Counter()
        self.hidden: Counter[str] = Counter()
        self.muted: dict[str, tuple[float | None, str]] = {}  # until when, until which release
        self.ignored: set[str] = set()
        self.announced: set[str] = set()  # kinds of which a mail must say that they are back
        self.resolved: set[str] = set()

    def record(self, kind: str, now: float, release: str) -> None:
        self.recorded[kind] += 1
        until, muted_release = self.muted.get(kind, (None, ""))
        is_over = (until is not None and now >= until) or muted_release not in ("", release)
        if kind in self.muted and is_over:
            del self.muted[kind]
        if kind in self.ignored or kind in self.muted:
            self.hidden[kind] += 1
        elif kind in self.resolved:
            self.resolved.discard(kind)
            self.announced.add(kind)


class Sequence:
    """One random sequence on a spool of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.luck = random.Random(seed)
        self.outbox = Outbox(folder, 1 << 24)
        self.settings = read_settings(
            {
                "MAIL_SERVER": "127.0.0.1",
                "ADMINS": "a@example.com",
                "SPOOL_DIR": folder,
                "LOG_DIR": folder,
                "REPORT_WINDOW": WINDOW,
                "REPORT_MAILS_PER_HOUR": self.luck.choice((2, 1000)),
            },
            environ={},
        )
        self.model = Model()
        self.now = START
        self.release = "1"
        self.start()

    def start(self) -> None:
        self.mailbox = Mailbox(self.outbox)
        self.mailbox.take_over()
        self.delivery = a_delivery(self.mailbox, self.settings)

    def deliver(self) -> None:
        self.mailbox.take_incoming()
        self.delivery.planner.plan(self.now)

    def step(self) -> None:
        weights = {
            self.error: 10,
            self.wait: 4,
            self.mute: 2,
            self.unmute: 2,
            self.resolve: 2,
            self.new_release: 1,
            self.restart: 1,
            self.ignore: 1,
            self.delete_rules: 1,
        }
        self.luck.choices(list(weights), list(weights.values()))[0]()

    def error(self) -> None:
        kind = self.luck.choice(KINDS)
        for _ in range(self.luck.choice((1, 1, 3))):
            report = a_report(
                f"boom {kind}",
                time=self.now,
                fingerprint=kind,
                type=f"Error{kind}",
                logger=kind,
                release=self.release,
                where="in test",
            )
            self.outbox.put(report, mailable=True)
            self.model.record(kind, self.now, self.release)
            self.now += 1
        self.deliver()

    def wait(self) -> None:
        self.now += self.luck.choice((1, WINDOW / 2, WINDOW, 4000))
        self.deliver()

    def known(self) -> str | None:
        kinds = [kind for kind in KINDS if self.model.recorded[kind]]
        return self.luck.choice(kinds) if kinds else None

    def change(self, kind: str) -> tuple[Inventory, ErrorGroup]:
        """Open the spool as an operator's command does, in a transaction."""
        inventory = Inventory(self.outbox.path)
        inventory.connection.execute("BEGIN IMMEDIATE")
        group = groups.load(inventory, kind)
        assert group is not None
        group.end_mute(self.now)
        return inventory, group

    def pending(self, kind: str) -> int:
        return self.mailbox.pending_span(kind)[1]

    def mute(self) -> None:
        if (kind := self.known()) is None:
            return
        until = self.luck.choice((None, self.now + 50, self.now + 2 * WINDOW))
        release = self.luck.choice(("", self.release)) if until is None else ""
        self.model.hidden[kind] += self.pending(kind)
        inventory, group = self.change(kind)
        group.mute(self.now, until, release)
        hide_pending(inventory, group, MUTED)
        self.save(inventory, group)
        self.model.muted[kind] = (until, release)
        self.deliver()

    def unmute(self) -> None:
        if (kind := self.known()) is None:
            return
        inventory, group = self.change(kind)
        if group.state is State.MUTED:
            group.unmute()
        self.save(inventory, group)
        self.model.muted.pop(kind, None)
        self.deliver()

    def resolve(self) -> None:
        if (kind := self.known()) is None:
            return
        self.now += 1
        inventory, group = self.change(kind)
        group.resolve(self.now, self.release)
        self.save(inventory, group)
        self.model.muted.pop(kind, None)
        self.model.resolved.add(kind)
        self.model.announced.discard(kind)
        self.now += 1
        self.deliver()

    def save(self, inventory: Inventory, group: ErrorGroup) -> None:
        groups.save(inventory, [group])
        inventory.connection.execute("COMMIT")
        inventory.close()

    def new_release(self) -> None:
        self.release = str(int(self.release) + 1)

    def restart(self) -> None:
        self.mailbox.close()
        self.start()

    def ignore(self) -> None:
        kind = self.luck.choice(KINDS)
        if kind in self.model.ignored:
            return
        self.model.hidden[kind] += self.pending(kind)
        with closing(Inventory(self.outbox.path)) as inventory, inventory.transaction():
            rule = IgnoreRule(0, self.now, exception=f"Error{kind}")
            rule.id = add_rule(inventory, rule)
            hide_matching(inventory, rule)
        self.model.ignored.add(kind)

    def delete_rules(self) -> None:
        with closing(Inventory(self.outbox.path)) as inventory:
            for rule in ignore_rules(inventory):
                assert delete_rule(inventory, rule.id)
        self.model.ignored.clear()

    def check(self) -> None:
        """Compare the spool with the model, after everything has been mailed."""
        for _ in range(40):
            self.now += WINDOW
            self.deliver()
        query = self.mailbox.connection.execute
        hidden = query(
            "SELECT fingerprint, count(*) FROM reports WHERE hidden IS NOT NULL GROUP BY 1"
        )
        assert dict(hidden) == {kind: n for kind, n in self.model.hidden.items() if n}
        assert query(
            "SELECT count(*) FROM reports WHERE hidden IS NOT NULL AND mail_id IS NOT NULL"
        ).fetchone() == (0,)
        assert query(
            "SELECT count(*) FROM reports WHERE hidden IS NULL AND mail_id IS NULL"
        ).fetchone() == (0,)
        (counted,) = query("SELECT coalesce(sum(count), 0) FROM mails").fetchone()
        assert counted == self.model.recorded.total() - self.model.hidden.total()
        for kind in KINDS:
            group = groups.load(self.mailbox, kind) or ErrorGroup(kind)
            assert group.count == self.model.recorded[kind]
            assert group.hidden == self.model.hidden[kind]
            if kind in self.model.announced and self.settings.reports.mails_per_hour > 2:
                assert not group.back_unsaid or kind in self.model.muted


@pytest.mark.parametrize("part", range(10))
def test_in_any_order_of_events_every_error_that_is_not_muted_is_mailed_or_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    # Only how many mails there are matters, and not how they look.
    monkeypatch.setattr(messages, "render", lambda *_: b"x")
    for seed in range(part, EXAMPLES, 10):
        sequence = Sequence(tmp_path / str(seed), seed)
        try:
            for _ in range(STEPS):
                sequence.step()
            sequence.check()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error
        finally:
            sequence.mailbox.close()
            sequence.outbox.close()
