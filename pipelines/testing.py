"""
Pipeline tests in YAML: what is given, what the model says, what must come of it.

    pipeline: ticket-summary
    cases:
      - name: a lost parcel is summed up for the agent
        given: {type: ticket.created, subject: "4711", data: {subject: Where is it, status: new}}
        lookups: {helpdesk.organization: {name: Nadia Ltd}}
        model_says: {summary: A parcel is lost.}
        expect: {verdict: delivered, actions: [{to: helpdesk.internal_note, text_contains: parcel}]}

`pipelines.casebook` reads them, `engine.rehearsal` runs a case on the real engine; only words and
judgement live here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from penstock.units import Amount
from pipelines.declaration import Name, Part, Target
from schemas.entries import Prompt, Receipt, SectionReceipt

Kept = Literal["kept", "cut", "dropped", "empty"]
Ending = Literal[
    "delivered",
    "unchanged",
    "skipped",
    "filtered",
    "own-write",
    "over-budget",
    "refused",
    "dead",
    "waiting",
    "aside",
]


class ExpectedAction(Part):
    """
    One write that must happen.
    """

    to: Target
    record: str | None = None
    text_contains: str | tuple[str, ...] = ()
    text_lacks: str | tuple[str, ...] = ()
    fields: Mapping[str, Any] | None = None


class Expected(Part):
    """
    What must come of a case; what is not written is not looked at.
    """

    verdict: Ending | None = None
    because: str | None = None
    """Words the reason must contain."""
    sections: Mapping[str, Kept] = Field(default_factory=dict)
    prompt_contains: str | tuple[str, ...] = ()
    prompt_lacks: str | tuple[str, ...] = ()
    tokens_at_most: int | None = Field(default=None, ge=0)
    """Of all context sections together."""
    actions: tuple[ExpectedAction, ...] | None = None
    """In order, and no others; `[]` says that nothing is written."""
    spend_at_most: Amount | None = None
    calls: int | None = Field(default=None, ge=0)
    """Calls of a model, repair turns included."""


class CaseWords(Part):
    """
    One case as a person wrote it.
    """

    name: str = Field(min_length=1)
    given: str | Mapping[str, Any]
    """An event in line, a file beside the test, or the name of a connector's sample."""
    lookups: Mapping[Target, Any] = Field(default_factory=dict)
    """Per lookup a record, a list of records, `{not_found: true}` or `{unavailable: true}`."""
    model_says: Mapping[str, Any] | tuple[Mapping[str, Any], ...] | None = None
    """One answer, or one per call; without it the offline model answers."""
    expect: Expected


class TestFile(Part):
    """
    One `*.test.yaml`.
    """

    __test__ = False

    pipeline: Name
    cases: tuple[CaseWords, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """
    A case with its place.
    """

    pipeline: str
    words: CaseWords
    file: Path
    line: int
    expect_line: int

    @property
    def name(self) -> str:
        """
        How people call it.
        """
        return self.words.name

    @property
    def place(self) -> str:
        """
        `file:line` of what is expected.
        """
        return f"{self.file}:{self.expect_line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Performed:
    """
    One write that happened in a rehearsal.
    """

    to: str
    record: str
    text: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    What came of a case.
    """

    verdict: str
    """The verdict, or the state of a run that has none."""
    why: str | None = None
    prompt: Prompt | None = None
    receipt: Receipt | None = None
    actions: tuple[Performed, ...] = ()
    cost: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """
    One thing that is not as expected.
    """

    what: str
    expected: str
    actual: str


def compare(expected: Expected, outcome: Outcome) -> list[Mismatch]:
    """
    Return everything in *outcome* that is not as *expected*.
    """
    return [
        *_ending(expected, outcome),
        *_context(expected, outcome),
        *_actions(expected, outcome),
        *_cost(expected, outcome),
    ]


def kept(section: SectionReceipt) -> Kept:
    """
    Return in one word what the context kept of *section*.
    """
    if not section.wanted:
        return "empty"
    if not section.kept:
        return "dropped"
    return "kept" if section.kept >= section.wanted else "cut"


def _ending(expected: Expected, outcome: Outcome) -> Iterator[Mismatch]:
    said = f"{outcome.verdict} ({outcome.why})" if outcome.why else outcome.verdict
    if expected.verdict and expected.verdict != outcome.verdict:
        yield Mismatch(what="verdict", expected=expected.verdict, actual=said)
    if expected.because and expected.because not in (outcome.why or ""):
        yield Mismatch(what="because", expected=repr(expected.because), actual=said)


def _context(expected: Expected, outcome: Outcome) -> Iterator[Mismatch]:
    found = {section.name: kept(section) for section in (outcome.receipt.sections if outcome.receipt else ())}
    for name, wanted in expected.sections.items():
        actual = found.get(name, "not assembled")
        if wanted != actual:
            yield Mismatch(what=f"sections.{name}", expected=wanted, actual=actual)
    text = f"{outcome.prompt.system}\n{outcome.prompt.user}" if outcome.prompt else ""
    yield from _texts("prompt", text, expected.prompt_contains, expected.prompt_lacks)
    used = outcome.receipt.used if outcome.receipt else 0
    if expected.tokens_at_most is not None and used > expected.tokens_at_most:
        yield Mismatch(what="tokens_at_most", expected=f"{expected.tokens_at_most:,}", actual=f"{used:,}")


def _texts(what: str, text: str, contains: str | Sequence[str], lacks: str | Sequence[str]) -> Iterator[Mismatch]:
    for wanted in _several(contains):
        if wanted not in text:
            yield Mismatch(what=f"{what}_contains", expected=repr(wanted), actual=_shown(text))
    for unwanted in _several(lacks):
        if unwanted in text:
            at = text.index(unwanted)
            around = text[max(0, at - 40) : at + len(unwanted) + 40]
            yield Mismatch(what=f"{what}_lacks", expected=f"no {unwanted!r}", actual=_shown(around))


def _actions(expected: Expected, outcome: Outcome) -> Iterator[Mismatch]:
    if expected.actions is None:
        return
    if len(expected.actions) != len(outcome.actions):
        wanted = ", ".join(action.to for action in expected.actions) or "none"
        actual = ", ".join(f"{action.to} on {action.record}" for action in outcome.actions) or "none"
        yield Mismatch(what="actions", expected=wanted, actual=actual)
        return
    for number, (want, done) in enumerate(zip(expected.actions, outcome.actions, strict=True)):
        yield from _action(f"actions[{number}]", want, done)


def _action(what: str, want: ExpectedAction, done: Performed) -> Iterator[Mismatch]:
    if want.to != done.to:
        yield Mismatch(what=f"{what}.to", expected=want.to, actual=done.to)
    if want.record is not None and want.record != done.record:
        yield Mismatch(what=f"{what}.record", expected=want.record, actual=done.record)
    yield from _texts(f"{what}.text", done.text or "", want.text_contains, want.text_lacks)
    for name, value in (want.fields or {}).items():
        if name not in done.fields or done.fields[name] != value:
            actual = repr(done.fields[name]) if name in done.fields else "not set"
            yield Mismatch(what=f"{what}.fields.{name}", expected=repr(value), actual=actual)


def _cost(expected: Expected, outcome: Outcome) -> Iterator[Mismatch]:
    if expected.spend_at_most is not None and outcome.cost > expected.spend_at_most:
        yield Mismatch(what="spend_at_most", expected=_usd(expected.spend_at_most), actual=_usd(outcome.cost))
    if expected.calls is not None and expected.calls != outcome.calls:
        yield Mismatch(what="calls", expected=str(expected.calls), actual=str(outcome.calls))


def _usd(micro: int) -> str:
    return f"{micro / 1_000_000:.6f} USD"


def _several(words: str | Sequence[str]) -> Sequence[str]:
    return (words,) if isinstance(words, str) else words


def _shown(text: str, most: int = 200) -> str:
    return repr(text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)")
