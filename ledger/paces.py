"""
How a pace is kept: by the generic cell rate algorithm (GCRA; ITU-T I.371, annex A), one time for requests and one
for tokens, in one row that every worker changes in turn.

Each permit moves the time of the next by the share of a minute it takes, so requests are spread evenly, and a
provider that counts by the minute and one that looks back 60 seconds are both kept below their limit. A request
whose time is near has it for sure; one whose time is far is told to come again, so a limit that changes finds few
times given out before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

from ledger.connection import Connection, Row
from ledger.pacing import Need, Pace, Permits, Quota
from ledger.queries import queries

SHARE = 0.97  # of a quota is used: clocks differ a little, and so does the way to the provider
BURST = 250_000  # microseconds that were not used may be caught up with
DECLARED = 2  # who told a quota: the declaration
_MINUTE = 60_000_000  # microseconds
LEAST_CUT = 50  # thousandths
GROWS = 50  # thousandths per second that come back after a cut
CUT_TOLD = 0.8  # what a pace keeps when its quota was told and it was too fast all the same: others use it too
CUT_GUESSED = 0.5  # and when it is a guess
ONE_CUT = 1000  # ms within which answers that ask to slow down are about the same haste
MOST_GROWN = 100_000  # thousandths: a guess may grow to a hundred times itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """
    A row of `paces`.
    """

    pace: str
    requests: int = 0
    tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    told: int = 1
    next_request: int = 0
    next_tokens: int = 0
    paused_until: int = 0
    cut: int = 1000
    cut_at: int = 0
    at: int = 0

    @classmethod
    def of(cls, row: Row) -> Kept:
        """
        Return what a row says.
        """
        return cls(**{each.name: row[each.name] for each in fields(cls)})

    def present_cut(self, now: int) -> int:
        """
        Return the thousandths of the quota that are used at UTC ms *now*; a guess grows beyond itself.
        """
        grown = self.cut + max(0, now - self.cut_at) * GROWS // 1000
        return min(grown, 1000 if self.told else MOST_GROWN)

    @property
    def quota(self) -> Quota:
        """
        What may be sent per minute.
        """
        return Quota(
            requests=self.requests,
            tokens=self.tokens,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
        )

    def minute(self, now: int) -> float:
        """
        Return the microseconds that a whole quota takes now.
        """
        return _MINUTE * 1000 / (SHARE * self.present_cut(now // 1000))

    def given(self, need: Need, now: int, horizon: int) -> tuple[Kept, int]:
        """
        Return the pace after *need* got its time, and the time, both as UTC microseconds; unchanged beyond *horizon*.
        """
        request, tokens = self.quota.parts(need)
        minute = self.minute(now)
        first = max(now - BURST, self.paused_until * 1000)
        starts = max(self.next_request, first), max(self.next_tokens, first)
        due = max(now, first, *(start for start, part in zip(starts, (request, tokens), strict=True) if part))
        if due > now + horizon:
            return self, due
        after = replace(
            self,
            next_request=round(starts[0] + request * minute),
            next_tokens=round(starts[1] + tokens * minute),
            at=now // 1000,
        )
        return after, due

    def shown(self, now: int) -> Pace:
        """
        Return it as others see it at UTC ms *now*.
        """
        return Pace(
            name=self.pace,
            quota=self.quota,
            told=bool(self.told),
            declared=self.told == DECLARED,
            paused_until=self.paused_until,
            cut=self.present_cut(now) / 1000,
            next_at=max(self.next_request // 1000, self.next_tokens // 1000, self.paused_until),
        )


def permits(
    connection: Connection, name: str, needs: Sequence[Need], *, back: Need, horizon: float, now: int
) -> Permits:
    """
    Give each of *needs* its time; those who are patient come last, and only where nobody waits.
    """
    kept = _found(connection, name)
    if kept is None:
        return Permits(due=(now,) * len(needs), next_at=now, pace=Kept(pace=name).shown(now))
    moment, far = now * 1000, round(horizon * 1_000_000)
    kept = _returned(kept, back, moment)
    due: list[int | None] = [None] * len(needs)
    later: list[int] = []
    for place in sorted(range(len(needs)), key=lambda place: needs[place].patient):
        near = 0 if needs[place].patient else far
        if later and not needs[place].patient:
            continue  # in turn: a small request does not pass a large one that waits
        kept, at = kept.given(needs[place], moment, near)
        if at > moment + near:
            later.append(at // 1000)
        else:
            due[place] = at // 1000
    _keep(connection, kept)
    return Permits(due=tuple(due), next_at=min(later, default=now), pace=kept.shown(now))


def set_pace(connection: Connection, name: str, quota: Quota, *, told: bool, declared: bool, now: int) -> Pace:
    """
    Let a pace keep *quota*.
    """
    kept = _found(connection, name) or Kept(pace=name)
    cut = 1000 if told and not kept.told else kept.present_cut(now)
    source = DECLARED if declared else int(told)
    kept = replace(kept, **asdict(quota), told=source, cut=cut, cut_at=now, at=now)
    _keep(connection, kept)
    return kept.shown(now)


def forget_pace(connection: Connection, name: str) -> None:
    """
    Forget a pace that was declared; what answers told stays.
    """
    connection.execute(queries["forget_pace"], {"pace": name})


def slow_down(connection: Connection, name: str, *, until: int, guess: Quota | None, now: int) -> Pace:
    """
    Pause a pace, and cut it; what is asked within a second was too fast for the same reason.
    """
    kept = _found(connection, name)
    if kept is None:
        kept = replace(Kept(pace=name, told=0, cut_at=now), **asdict(guess or Quota()))
    if now - kept.cut_at >= ONE_CUT or kept.cut_at == now:
        share = CUT_TOLD if kept.told else CUT_GUESSED
        kept = replace(kept, cut=max(LEAST_CUT, round(kept.present_cut(now) * share)), cut_at=max(now, until))
    kept = replace(kept, paused_until=max(kept.paused_until, until), at=now)
    _keep(connection, kept)
    return kept.shown(now)


def all_of(connection: Connection, now: int) -> list[Pace]:
    """
    Return all paces by name.
    """
    return [Kept.of(row).shown(now) for row in connection.execute(queries["paces"])]


def _found(connection: Connection, name: str) -> Kept | None:
    row = connection.execute(queries["pace"], {"pace": name}).fetchone()
    return None if row is None else Kept.of(row)


def _keep(connection: Connection, kept: Kept) -> None:
    connection.execute(queries["keep_pace"], asdict(kept))


def _returned(kept: Kept, back: Need, now: int) -> Kept:
    """
    Take back the tokens that were not used.
    """
    _, tokens = kept.quota.parts(back)
    return replace(kept, next_tokens=max(round(kept.next_tokens - tokens * kept.minute(now)), 0)) if tokens else kept
