"""Makes the mails that this machine has claimed, and records what other machines mail."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ..agreement.question import SUMMARY, Answer, Claim, Tally
from ..mail import draft as drafts
from ..mail.content import REQUEST_IDS, Digest, HeldErrors
from ..mail.draft import Draft
from ..report.report import Report
from ..report.wording import counted
from ..settings import AppSettings
from ..spool import groups
from ..spool.handovers import Handovers
from ..spool.mailbox import Mailbox
from .messages import MessageWriter

NODES_SHOWN: Final = 20


class SharedMails:
    """Applies an :class:`.Answer` to ``mailbox``, each mail in one transaction.

    ``limit`` is REPORT_MAILS_PER_HOUR.
    """

    def __init__(
        self, mailbox: Mailbox, writer: MessageWriter, app: AppSettings, limit: int
    ) -> None:
        self.mailbox = mailbox
        self.writer = writer
        self.app = app
        self.limit = limit
        self.handovers = Handovers(mailbox)

    def apply(self, answer: Answer, now: float) -> None:
        """Apply an answer at the time ``now``, in seconds since the epoch."""
        own = {SUMMARY, *answer.held, *(claim.fingerprint for claim in answer.claims)}
        with self.mailbox.transaction():
            self._close(answer)
            for fingerprint, window in answer.windows.items():
                opened = now - window.age
                self.handovers.note_window(
                    fingerprint, window.number, opened, is_sent=window.is_sent
                )
                if fingerprint not in own:
                    groups.clear_back_unsaid(self.mailbox, fingerprint)
            for fingerprint in answer.held:
                self._hold(fingerprint, answer, now)
            self.handovers.finish(one.number for one in answer.awaited.values() if one.is_sent)
        for claim in answer.claims:
            known = self.handovers.mail_id_of(self.writer.shared_id(_identity(claim)))
            with self.mailbox.transaction():
                if known is not None:
                    self.handovers.add_claim(known, claim.window, claim.previous)
                elif claim.fingerprint == SUMMARY:
                    self._add_summary(claim, now)
                else:
                    self._add(claim, now)

    def _close(self, answer: Answer) -> None:
        for (fingerprint, window), (successor, number) in answer.closed.items():
            self.handovers.close(fingerprint, window, successor.number, number)
        self.handovers.finish(one.number for one, _ in answer.closed.values() if one.is_sent)

    def _hold(self, fingerprint: str, answer: Answer, now: float) -> None:
        for known, window, *_ in self.handovers.tallies():
            if known == fingerprint:
                self.handovers.take_back(fingerprint, window)
        self.handovers.hand_over(fingerprint, answer.summary_window, now)

    def _add(self, claim: Claim, now: float) -> None:
        fingerprint, total = claim.fingerprint, sum(one.count for one in claim.tallies)
        group = groups.load(self.mailbox, fingerprint)
        is_back = group is not None and group.back_unsaid
        if claim.previous is not None:
            self.handovers.take_back(fingerprint, claim.previous)
        since = group.resolved_at if group is not None and is_back else None
        found = self.mailbox.first_pending(fingerprint, since)
        if not total and found is None:
            # This machine has counted its errors as repeats of the mail that it makes now.
            self.handovers.take_back(fingerprint, claim.window)
            found = self.mailbox.first_pending(fingerprint, since)
        self.handovers.note_window(fingerprint, claim.window, now, is_sent=False)
        digest = None
        if total:
            digest = self._digest(claim.tallies)
        elif found is None:
            # An operator has just hidden the errors: the claim expires, or is taken over.
            return
        report = found[1] if found else _placeholder(claim.tallies[0])
        draft = drafts.draft_report(report, self.app, digest, group, is_back=is_back)
        mail_id = self.writer.add(
            "digest" if digest else "report",
            _with_nodes(draft, claim.tallies),
            now,
            fingerprint=fingerprint,
            source=report.source,
            identity=_identity(claim),
        )
        if digest:
            own = sum(one.count for one in claim.tallies if one.node == self.app.node)
            self.mailbox.assign_first(mail_id, fingerprint, own)
        elif found:
            self.mailbox.assign_one(mail_id, found[0])
        self.handovers.add_claim(mail_id, claim.window, claim.previous)
        groups.count_mail(self.mailbox, fingerprint)

    def _digest(self, tallies: Iterable[Tally]) -> Digest:
        known = list(tallies)
        ids = self.mailbox.pending_request_ids(known[0].fingerprint, 1 << 62, REQUEST_IDS)
        return Digest(
            sum(one.count for one in known),
            min(one.first for one in known),
            max(one.last for one in known),
            ids,
        )

    def _add_summary(self, claim: Claim, now: float) -> None:
        """Add the mail that counts the errors of all machines that the hourly cap held back."""
        by_fingerprint: dict[str, list[Tally]] = defaultdict(list)
        for tally in claim.tallies:
            by_fingerprint[tally.fingerprint].append(tally)
        self.handovers.note_window(SUMMARY, claim.window, now, is_sent=False)
        if not by_fingerprint:
            return
        entries = []
        for fingerprint, tallies in by_fingerprint.items():
            self.handovers.take_back(fingerprint, claim.previous or 0)
            found = self.mailbox.first_pending(fingerprint)
            group = groups.load(self.mailbox, fingerprint)
            is_back = group is not None and group.back_unsaid
            number, first = sum(one.count for one in tallies), min(one.first for one in tallies)
            report = found[1] if found else _placeholder(tallies[0])
            entries.append(HeldErrors(number, first, report, is_back))
        draft = drafts.draft_summary(entries, self.app, self.limit)
        draft = _with_nodes(draft, claim.tallies)
        mail_id = self.writer.add("summary", draft, now, identity=_identity(claim))
        for tally in claim.tallies:
            if tally.node == self.app.node:
                self.mailbox.assign_first(mail_id, tally.fingerprint, tally.count)
                groups.count_mail(self.mailbox, tally.fingerprint)
        self.handovers.add_claim(mail_id, claim.window, claim.previous)
        self.mailbox.add_to_counter("week_held", draft.count)


def note_alone(reason: str, since: str, nodes: Iterable[str]) -> Callable[[Draft], Draft]:
    """Return a function that adds to a message why, and since when, this machine decides alone."""
    others = sorted(nodes)
    known = f" ({', '.join(others[:NODES_SHOWN])})" if others else ""
    rows = [
        (
            "Decided alone",
            f"PostgreSQL has not answered since {since}, so the machines cannot agree: {reason}",
        ),
        (
            "Other machines",
            f"Each of the others{known} may mail the same errors too. "
            "Each sends at most as many mails as a single machine would.",
        ),
    ]

    def add(draft: Draft) -> Draft:
        return drafts.with_rows(draft, "Agreement", rows)

    return add


def _with_nodes(draft: Draft, tallies: Iterable[Tally]) -> Draft:
    """Return a message with the number of errors of each machine, if there are several."""
    numbers: dict[str, int] = defaultdict(int)
    for tally in tallies:
        numbers[tally.node] += tally.count
    rows = [
        (node, counted(number, "error"))
        for node, number in sorted(numbers.items(), key=lambda one: (-one[1], one[0]))
    ]
    if len(rows) > NODES_SHOWN:
        rest = sum(numbers.values()) - sum(sorted(numbers.values())[-NODES_SHOWN:])
        more = (f"and {len(rows) - NODES_SHOWN} more", counted(rest, "error"))
        rows = [*rows[:NODES_SHOWN], more]
    return drafts.with_rows(draft, "Machines", rows) if len(rows) > 1 else draft


def _identity(claim: Claim) -> str:
    """Return the first part of the Message-ID, which is the same on every machine."""
    return f"{claim.window}.{claim.fingerprint or 'summary'}"


def _placeholder(tally: Tally) -> Report:
    """Return a report of an error of which only another machine's count is known."""
    kind, _, message = tally.title.partition(": ")
    known: Mapping[str, object] = {
        "uuid": "",
        "time": tally.first,
        "fingerprint": tally.fingerprint,
        "type": kind or "Error",
        "message": message,
        "where": f"on {tally.node}",
        "node": tally.node,
    }
    return Report.from_json(json.dumps(known))
