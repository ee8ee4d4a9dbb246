"""One node's part in ``mayday.claim`` and ``mayday.count``: it writes counts and claims mails."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from ..settings import AgreementSettings
from . import statements as sql
from .connection import Connection, UnreachableError
from .question import SUMMARY, Answer, Candidate, Claim, Question, Tally, Window, counts_in

GRACE: Final = 3.0  # seconds from the end of a window to its mail, for nodes to write counts
EXPIRY: Final = 60.0  # seconds without renewal after which another node takes over a claim
# Seconds from the return of PostgreSQL to the first mail that closes a window.
RECOVERY_TIME: Final = 20.0


class Budget(Protocol):
    """The rest of the hourly cap."""

    def allows(self, source: str) -> bool:
        """Return whether a source may have another mail."""

    def spend(self, source: str) -> None:
        """Count a mail of a source."""


class Board:
    """The agreement of all nodes, from the side of the node ``settings.node``.

    ``window`` is REPORT_WINDOW in seconds. ``budget_of`` returns the budget of an hour, given the
    number of mails made in it by source. Methods raise :exc:`.UnreachableError` if PostgreSQL does
    not answer.
    """

    def __init__(
        self,
        settings: AgreementSettings,
        window: float,
        budget_of: Callable[[Mapping[str, int]], Budget],
    ) -> None:
        self.node = settings.node
        self.window = window
        self.budget_of = budget_of
        self.connection = Connection(settings)
        self.nodes: set[str] = set()  # other nodes that have made a mail

    def exchange(self, question: Question) -> Answer:
        """Write the counts and claim mails in one transaction; return the answer."""
        try:
            return _Exchange(self, question).run()
        except UnreachableError:
            raise
        except BaseException:
            self.connection.close()  # and with it the transaction
            raise

    def renew(self, windows: Iterable[int]) -> set[int]:
        """Keep claims from expiring; return those that this node still has."""
        rows = self.connection.call(sql.RENEW, self._named(windows=list(windows)))
        return {window for (window,) in rows}

    def note_sent(self, windows: Iterable[int]) -> None:
        """Record that the mails of these windows are delivered, or given up with a notice."""
        values = self._named(windows=list(windows))
        self.connection.call(f"{sql.SENT};{sql.DELETE_DELIVERED_COUNTS}", values)

    def delete_delivered_counts(self) -> None:
        """Delete this node's counts that are in delivered mails."""
        self.connection.call(sql.DELETE_DELIVERED_COUNTS, self._named())

    def delete_old_rows(self) -> None:
        """Delete old rows."""
        self.connection.call(sql.DELETE_OLD_ROWS)

    def _named(self, **values: object) -> dict[str, object]:
        return {"node": self.node, **values}

    def has_recovered(self, has_just_started: bool) -> bool:
        """Return whether nodes have had time to correct their counts after a failure."""
        back_at = self.connection.back_at
        had_time = not back_at or time.monotonic() - back_at > RECOVERY_TIME
        return had_time and not has_just_started


class _Exchange:
    """One exchange: reads, decides, writes."""

    def __init__(self, board: Board, question: Question) -> None:
        self.board = board
        self.question = question
        self.answer = Answer()
        self.tallies = {(one.fingerprint, one.window): one for one in question.tallies}
        self.taken: list[Window] = []  # claims of others, and forgotten ones of this node
        self.new: list[tuple[str, str, int | None]] = []  # fingerprint, source, previous window
        self.candidates = {candidate.fingerprint: candidate for candidate in question.candidates}
        self.may_close = True

    def call(self, statements: str, **values: object) -> list[tuple[Any, ...]]:
        """Run statements with ``values`` and this node's name."""
        return self.board.connection.call(statements, self.board._named(**values))

    def run(self) -> Answer:
        """Run the transaction."""
        self._read(sql.SHARED)
        if self._may_claim():
            self._read(sql.EXCLUSIVE)
        if self._may_claim():
            self._decide()
            self._write()
            self.call("COMMIT")
        else:
            self._write_tallies("COMMIT")
        return self.answer

    def _read(self, begin: str) -> None:
        self.answer = Answer()
        self.tallies = {(one.fingerprint, one.window): one for one in self.question.tallies}
        question, answer = self.question, self.answer
        counted = {window for _, window in self.tallies}
        rows = self.call(
            begin + sql.WINDOWS,
            expiry=EXPIRY,
            windows=list(question.awaited),
            counted=list(counted),
            fingerprints=[SUMMARY, *self.candidates],
        )
        known = sorted((Window(*row) for row in rows), key=lambda one: one.number)
        closed_by = {one.previous: one for one in known if one.previous in counted}
        answer.windows = {one.fingerprint: one for one in known}
        answer.awaited = {one.number: one for one in known if one.number in question.awaited}
        self.board.nodes |= {one.node for one in known} - {self.board.node}
        current = answer.windows.get(SUMMARY)
        answer.summary_window = current.number if current else 0
        answer.summary_in = self.board.window + GRACE - current.age if current else 0.0
        if not closed_by:
            return
        rows = self.call(sql.RECORDED, closed=[window for window in counted if window in closed_by])
        recorded = {(fingerprint, window): number for fingerprint, window, number in rows}
        for key in [key for key in self.tallies if key[1] in closed_by]:
            answer.closed[key] = (closed_by[key[1]], recorded.get(key, 0))
            del self.tallies[key]

    def _may_claim(self) -> bool:
        """Return whether there may be a mail for this node to make."""
        windows, summary = self.answer.windows, self.answer.windows.get(SUMMARY)
        if any(map(self._may_be_taken, self.answer.awaited.values())):
            return True
        for candidate in self.question.candidates:
            current = windows.get(candidate.fingerprint)
            if current is None or self._may_be_taken(current) or self._is_over(current, candidate):
                return True
        if summary is not None and self._may_be_taken(summary):
            return True
        is_counted = any(window == self.answer.summary_window for _, window in self.tallies)
        is_due = summary is None or self._is_over(summary) or self.question.is_leaving
        return is_counted and is_due

    def _decide(self) -> None:
        self._take_over(self.answer.awaited.values())
        if (summary := self.answer.windows.get(SUMMARY)) is not None:
            self._take_over([summary])
        rows = self.call(sql.RECENT, recovery=RECOVERY_TIME)
        self.may_close = self.board.has_recovered(rows[0][3])
        made: Counter[str] = Counter()
        for source, node, number, _ in rows:
            made[source] += number
            self.board.nodes |= {node} - {"", self.board.node}
        budget = self.board.budget_of(made)
        for candidate in self.question.candidates:
            self._decide_about(candidate, budget)

    def _decide_about(self, candidate: Candidate, budget: Budget) -> None:
        current = self.answer.windows.get(candidate.fingerprint)
        if current is not None and self._may_be_taken(current):
            self._take_over([current])
        elif current is not None and not self._is_over(current, candidate):
            return
        elif not budget.allows(candidate.source):
            self._hold(candidate.fingerprint)
        else:
            budget.spend(candidate.source)
            known = [window for window in (current and current.number, candidate.known) if window]
            self.new.append((candidate.fingerprint, candidate.source, max(known, default=None)))

    def _may_be_taken(self, window: Window) -> bool:
        """Return whether a mail was not sent, and no node is about to send it."""
        if window.node == self.board.node:
            return not window.is_sent and window.number not in self.question.mine
        return window.is_expired and self.board.has_recovered(False)

    def _take_over(self, windows: Iterable[Window]) -> None:
        known = {one.number for one in self.taken}
        self.taken += [
            one for one in windows if one.number not in known and self._may_be_taken(one)
        ]

    def _is_over(self, window: Window, candidate: Candidate | None = None) -> bool:
        if candidate is not None and candidate.force and candidate.known == window.number:
            return True
        return self.may_close and window.age >= self.board.window + GRACE

    def _hold(self, fingerprint: str) -> None:
        """Count an error and its repeats in the next summary."""
        self.answer.held.append(fingerprint)
        moved = [self.tallies.pop(key) for key in list(self.tallies) if key[0] == fingerprint]
        if moved:
            window = self.answer.summary_window
            self.tallies[fingerprint, window] = Tally(
                fingerprint,
                window,
                sum(one.count for one in moved),
                min(one.first for one in moved),
                max(one.last for one in moved),
                moved[0].title,
            )

    def _write(self) -> None:
        self._write_tallies()
        previous = [one for *_, one in self.new if one]
        previous += [one.previous for one in self.taken if one.previous is not None]
        summary = self.answer.summary_window
        has_held = any(window == summary for _, window in self.tallies) or self.answer.held
        wanted = [*previous, summary] if has_held else previous
        counts: dict[int, list[Tally]] = {}
        waited = 0.0
        for *row, seconds in self.call(sql.COUNTED, windows=wanted) if wanted else []:
            counts.setdefault(row[1], []).append(Tally(*row))
            if row[1] == summary:
                waited = seconds
        if has_held:
            self._decide_about_summary(waited, bool(counts.get(summary)))
        self._claim(counts)
        if self.taken:
            self.call(sql.TAKE_OVER, windows=[one.number for one in self.taken])
            # Without counts, a mail reports the first error that this node counted in its window.
            first = [one for one in self.taken if not counts_in(counts, one.previous)]
            names, numbers = [one.fingerprint for one in first], [one.number for one in first]
            self.call(sql.UNCOUNT, fingerprints=names, windows=numbers)
            for one in self.taken:
                tallies = tuple(counts_in(counts, one.previous))
                self.answer.claims.append(Claim(one.number, one.fingerprint, one.previous, tallies))

    def _write_tallies(self, end: str = "") -> None:
        keys, tallies = list(self.tallies), list(self.tallies.values())
        known: dict[str, object] = {
            "fingerprints": [fingerprint for fingerprint, _ in keys],
            "windows": [window for _, window in keys],
            "numbers": [one.count for one in tallies],
            "firsts": [one.first for one in tallies],
            "lasts": [one.last for one in tallies],
            "titles": [one.title for one in tallies],
        }
        self.call(sql.FORGET + (sql.COUNT if tallies else "") + end, **known)

    def _decide_about_summary(self, waited: float, has_counts: bool) -> None:
        """Claim the summary if it is due, and set when to ask again."""
        current = self.answer.windows.get(SUMMARY)
        grace = 0.0 if self.question.is_leaving else GRACE
        end = self.board.window + grace - current.age if current else grace - waited
        if self.question.is_leaving:
            end = 0.0
        self.answer.summary_in = max(0.0, end)
        if has_counts and end <= 0 and self.may_close:
            self.new.append((SUMMARY, "", self.answer.summary_window))
        elif end <= 0 and has_counts:
            self.answer.summary_in = GRACE
        elif not has_counts:
            self.answer.summary_in = 0.0

    def _claim(self, counts: dict[int, list[Tally]]) -> None:
        if not self.new:
            return
        rows = self.call(
            sql.CLAIM,
            fingerprints=[one[0] for one in self.new],
            sources=[one[1] for one in self.new],
            previous=[one[2] for one in self.new],
        )
        windows = {fingerprint: window for window, fingerprint in rows}
        dropped = []
        for fingerprint, _, previous in self.new:
            tallies = counts_in(counts, previous)
            if fingerprint != SUMMARY and not self._is_digest(fingerprint, tallies):
                # Its errors came after the window: the first is mailed, and the others count anew.
                dropped += [(one.fingerprint, one.window) for one in tallies]
                tallies = []
            window = windows[fingerprint]
            self.answer.claims.append(Claim(window, fingerprint, previous, tuple(tallies)))
        if dropped:
            names, numbers = zip(*dropped, strict=True)
            self.call(sql.UNCOUNT, fingerprints=list(names), windows=list(numbers))

    def _is_digest(self, fingerprint: str, tallies: list[Tally]) -> bool:
        others = any(one.node != self.board.node for one in tallies)
        candidate = self.candidates[fingerprint]
        return others or (bool(tallies) and candidate.repeats)
