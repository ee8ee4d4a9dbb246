"""Makes messages if the couriers of several machines agree on which one mails what."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from ..agreement import board as agreement
from ..agreement.board import Board
from ..agreement.connection import BusyError, UnreachableError
from ..agreement.question import SUMMARY, Answer, Candidate, Question, Tally
from ..mail.times import moment
from ..settings import AgreementSettings, AppSettings, ReportSettings
from ..spool.mailbox import Mailbox
from ..spool.stored_mail import PendingErrors, StoredMail
from .budget import FairBudget
from .messages import MessageWriter
from .planner import HELD_INTERVAL, Planner, unchanged
from .shared_mails import SharedMails, note_alone

PAUSES: Final = (0.2, 2.0)  # seconds between two exchanges: the shortest and the longest pause
AWAIT_PAUSES: Final = (1.0, 30.0)  # … while this machine only waits for mails of others
RENEW_INTERVAL: Final = 20.0  # seconds
EXPIRE_INTERVAL: Final = 3600.0  # seconds
# Seconds without an answer from PostgreSQL after which this machine mails errors that it has
# handed over.
TAKE_BACK_AFTER: Final = 30.0


class SharedPlanner:
    """Plans as ``planner`` does, but for all machines together; alone while PostgreSQL is down.

    Until a window is over nothing is exchanged about its errors. Then each machine hands over its
    repeats: it writes how many it has, and one machine claims the digest with the sum.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        writer: MessageWriter,
        planner: Planner,
        settings: AgreementSettings,
        reports: ReportSettings,
        app: AppSettings,
    ) -> None:
        self.mailbox = mailbox
        self.planner = planner
        self.window = reports.window
        self.board = Board(
            settings, reports.window, lambda made: FairBudget(reports.mails_per_hour, made)
        )
        self.mails = SharedMails(mailbox, writer, app, reports.mails_per_hour)
        self.handovers = self.mails.handovers
        self.is_leaving = False
        self._pause = PAUSES[0]
        # The times below are in seconds of time.monotonic().
        self._next = 0.0
        self._seen: set[str] = set()  # fingerprints in the last exchange
        self._written: set[tuple[object, ...]] = set()  # the counts that the others know
        self._is_behind = False  # whether the others may know counts that are wrong by now
        self._held: dict[str, float] = {}  # fingerprints, and until when they are held
        self._summary_at = 0.0
        self._renewed: dict[int, float] = {}  # windows of this machine, and when they were renewed
        self._expire_at = 0.0

    def plan(self, now: float) -> None:
        """Make messages from the reports that have none, at the time ``now``."""
        try:
            self.board.connection.check()
            self._agree(now)
        except BusyError:
            self._is_behind = True  # it is tried again in a moment
        except UnreachableError:
            self._is_behind = True
            self._decide_alone(now)

    def may_send(self, item: StoredMail) -> bool:
        """Return whether this machine still has the claim of a mail, as far as it knows."""
        window = self.handovers.mine().get(item.id)
        if window is None or time.monotonic() - self._renewed.get(window, 0.0) < RENEW_INTERVAL:
            return True
        try:
            self._renew({item.id: window})
        except UnreachableError:
            return True
        return window in self._renewed

    def after_sending(self) -> None:
        """Write which claimed mails are sent, and renew the claims of those that wait."""
        try:
            if done := self.handovers.done():
                self.board.note_sent(done.values())
                with self.mailbox.transaction():
                    self.handovers.confirm(done)
            due = time.monotonic() - RENEW_INTERVAL
            mine = self.handovers.mine()
            self._renewed = {w: self._renewed[w] for w in mine.values() if w in self._renewed}
            if old := {k: w for k, w in mine.items() if self._renewed.get(w, 0.0) < due}:
                self._renew(old)
            if mine and time.monotonic() > self._expire_at:
                self._expire_at = time.monotonic() + EXPIRE_INTERVAL
                self.board.delete_old_rows()
        except UnreachableError:
            pass
        self.board.connection.close_if_idle()

    def is_holding(self) -> bool:
        """Return whether errors were handed over and are in no mail yet, as far as is known."""
        return bool(self.handovers.tallies())

    def close(self) -> None:
        """Close the connection."""
        self.board.connection.close()

    def _renew(self, claims: dict[int, int]) -> None:
        kept = self.board.renew(claims.values())
        for mail_id, window in claims.items():
            if window in kept:
                self._renewed[window] = time.monotonic()
                continue
            self._renewed.pop(window, None)
            with self.mailbox.transaction():
                self.handovers.lose(mail_id)

    def _agree(self, now: float) -> None:
        due = self._hand_over(self._due(now), now)
        question = self._question(due, now)
        if question is None:
            return
        answer = self.board.exchange(question)
        self._is_behind = False
        gone = {claim.previous for claim in answer.claims}
        self._written = {
            (one.fingerprint, one.window, one.count)
            for one in question.tallies
            if one.window not in gone
            and (one.fingerprint, one.window) not in answer.closed
            and one.fingerprint not in answer.held
        }
        self.mails.apply(answer, now)
        self._learn(question, answer)

    def _due(self, now: float) -> list[PendingErrors]:
        """Return the errors that may be mailed now as far as this machine knows."""
        if not self.is_leaving:
            return self.planner.due(now, look_at_all=True)
        return self.mailbox.pending_errors(now)

    def _hand_over(self, due: list[PendingErrors], now: float) -> list[PendingErrors]:
        """Hand over the errors whose window is known; return those to ask about."""
        rest, handed = [], []
        for errors in due:
            known = self.handovers.window(errors.fingerprint)
            if time.monotonic() < self._held.get(errors.fingerprint, 0.0) and not self.is_leaving:
                handed.append((errors.fingerprint, self._summary_window()))
            else:
                rest.append(errors)
                if known is not None and not errors.is_back:
                    handed.append((errors.fingerprint, known.number))
        if handed:
            with self.mailbox.transaction():
                for fingerprint, window in handed:
                    self.handovers.hand_over(fingerprint, window, now)
        return rest

    def _summary_window(self) -> int:
        known = self.handovers.window(SUMMARY)
        return known.number if known else 0

    def _question(self, due: list[PendingErrors], now: float) -> Question | None:
        """Return the question to send now, or ``None`` if there is nothing to send yet."""
        clock = time.monotonic()
        tallies = tuple(Tally(*row) for row in self.handovers.tallies())
        summary = self._summary_window()
        counted = [one for one in tallies if one.window != summary]
        candidates = self._candidates(due, counted, now)
        awaited = frozenset(self.handovers.awaited())
        has_summary = len(counted) < len(tallies) and clock >= self._summary_at
        written = {one for one in self._written if one[1] != summary}
        is_new = written != {(one.fingerprint, one.window, one.count) for one in counted}
        if not (
            candidates
            or is_new
            or self._is_behind
            or has_summary
            or awaited
            or (tallies and self.is_leaving)
        ):
            return None
        if self.is_leaving or (not self._held and set(candidates) - self._seen):
            self._pause, self._next = PAUSES[0], 0.0
        if clock < self._next:
            return None
        self._seen = set(candidates)
        mine = frozenset(self.handovers.mine().values())
        return Question(tallies, tuple(candidates.values()), mine, awaited, self.is_leaving)

    def _candidates(
        self, due: list[PendingErrors], counted: Iterable[Tally], now: float
    ) -> dict[str, Candidate]:
        """Return the errors to mail, by fingerprint.

        They are those that are due, and those whose counts in a window are to be summed. The end
        of a window is followed by a grace, in which all machines write their counts.
        """
        moments = {errors.fingerprint: (errors.first, errors.is_back) for errors in due}
        moments |= {one.fingerprint: (one.first, False) for one in counted}
        candidates = {}
        for fingerprint, (first, is_back) in moments.items():
            known = self.handovers.window(fingerprint)
            force = is_back or self.is_leaving
            end = known.opened + self.window + agreement.GRACE if known else 0.0
            if now < end and not force:
                continue
            last = self.mailbox.last_mail(fingerprint, now)
            repeats = last is not None and first < last + self.window and not is_back
            source = self.mailbox.source_of(fingerprint)
            number = known.number if known else None
            candidates[fingerprint] = Candidate(fingerprint, source, number, repeats, force)
        return candidates

    def _learn(self, question: Question, answer: Answer) -> None:
        clock = time.monotonic()
        for claim in answer.claims:
            self._renewed[claim.window] = clock
        self._held = {one: until for one, until in self._held.items() if until > clock}
        self._held |= dict.fromkeys(answer.held, clock + HELD_INTERVAL)
        self._summary_at = clock + answer.summary_in
        gone = question.awaited - set(answer.awaited)
        if gone:
            with self.mailbox.transaction():
                self.handovers.release(gone)
        if any(window.is_sent for window, _ in answer.closed.values()) or any(
            window.is_sent for window in answer.awaited.values()
        ):
            self.board.delete_delivered_counts()
        if answer.claims:
            self._pause = PAUSES[0]
        else:
            first, longest = PAUSES if question.candidates else AWAIT_PAUSES
            self._pause = max(first, min(longest, 2 * self._pause))
        self._next = clock + self._pause

    def _decide_alone(self, now: float) -> None:
        connection = self.board.connection
        since = connection.unreachable_since or now
        is_long = now - since >= TAKE_BACK_AFTER
        if (is_long or self.is_leaving) and self.handovers.tallies():
            with self.mailbox.transaction():
                self.handovers.release_open(now if self.is_leaving else now - TAKE_BACK_AFTER)
        self.planner.is_leaving = self.is_leaving
        self.planner.annotate = note_alone(connection.reason, moment(since), self.board.nodes)
        try:
            self.planner.plan(now)
        finally:
            self.planner.annotate = unchanged
