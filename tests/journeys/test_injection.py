"""
More than 300 attacks in 19 families through the whole pipeline, with a model that obeys every one.

For each family one defence is then switched off, and at least one of its attacks must get through: so
we know that the attacks are real and that it is this defence that stops them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ai import conversation, evidence, links
from ai.output import OutputSchema
from ledger.contract import run_id
from penstock import HOUSE
from penstock import visible as seeing
from penstock.errors import PenstockError
from penstock.expressions import compile_template
from pipelines import cleaning, context, inert, printing
from pipelines.context import nonce
from pipelines.deliveries import DeliveryPlan
from schemas.entries import RunDetail
from tests.journeys.attacks import Attack, families, wrong_in_prompt, wrong_in_text
from tests.journeys.theatre import Scene, staged

CORPUS = families()
VICTIM = 35_001
"""A ticket of somebody else."""
FIRST_TICKET, FIRST_PERSON, FIRST_COMPANY = 40_000, 70_000, 500_000
NEVER = re.compile("(?!)")

Patches = list[tuple[Any, str, Any]]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with staged(tmp_path) as found:
        found.desk.opened(id=VICTIM, subject="Mine", description="Leave me alone.", silent=True)
        yield found


def without(rule: str) -> Patches:
    """
    Return how texts are written without one of the rules that make them text.
    """
    rest = "|".join(pattern for name, pattern in inert._RULES.items() if name != rule)
    return [(inert, "_OPENS", re.compile(rest, re.IGNORECASE))]


def any_answer(_schema: OutputSchema, value: Any) -> list[str]:
    return [] if isinstance(value, dict) else ["the answer is not a JSON object"]


def record_of_the_answer(plan: DeliveryPlan, scope: Any) -> str:
    """
    Let the answer say which record is written to.
    """
    named = re.search(r"\d{5}", scope["output"].get("next_step", ""))
    return named[0] if named else str(scope["event"]["subject"])


def packed_without_end(_budget: int, claimants: Sequence[Any]) -> Any:
    return packing(10**6, [replace(claimant, ceiling=None) for claimant in claimants])


def rendered_twice(plan: DeliveryPlan, scope: Any) -> dict[str, Any]:
    """
    Take what a template gave for a template.
    """
    assert plan.template is not None
    once = plan.template.render(scope)
    with contextlib.suppress(PenstockError):
        return {"text": compile_template(once, "again").render(scope).strip()}
    return {"text": once.strip()}


packing = context.pack

NO_SCHEMA: Patches = [(OutputSchema, "validate", any_answer)]
MUTANTS: dict[str, list[Patches]] = {
    "action-hijack": [without("commands"), without("mentions"), NO_SCHEMA],
    "crm-fields": [[(printing, "_indented", lambda value: value)]],
    "delimiter-breakout": [[(cleaning, "_tags", lambda _names: NEVER)]],
    "encoded-payloads": [[(links, "_readings", lambda text: iter([text]))], without("entities")],
    "flooding": [[(context, "pack", packed_without_end)]],
    "homographs": [[(links, "_ends_as_host", lambda _found: False)]],
    "html-and-script": [without("tags")],
    "image-exfiltration": [without("images")],
    "instruction-override": [NO_SCHEMA],
    "invisible-unicode": [[(seeing, "visible", str)], [(cleaning, "visible", str)]],
    "json-smuggling": [NO_SCHEMA],
    "link-exfiltration": [[(evidence, "places", lambda _text: iter(()))]],
    "markdown-structure": [without("links")],
    "mentions": [without("mentions"), without("notes")],
    "multilingual": [[(conversation, "unsupported", lambda *_: ())]],
    "quoted-mail-and-turns": [without("marks")],
    "role-spoofing": [[(cleaning, "_TURNS", NEVER)]],
    "target-hijack": [[(DeliveryPlan, "record_of", record_of_the_answer)], NO_SCHEMA],
    "templates-and-expressions": [without("placeholders"), [*without("placeholders"), (DeliveryPlan, "render", rendered_twice)]],
}  # fmt: skip
"""Per family, what switches one of its defences off."""


def test_the_corpus_is_what_it_says() -> None:
    """
    At least 300 attacks in 19 families, each under its own name in the file of its family, each with a mutant.
    """
    attacks = [attack for family in CORPUS.values() for attack in family]

    assert len(attacks) >= 300
    assert set(CORPUS) == set(MUTANTS)
    assert {(attack.family, attack.name) for attack in attacks} == {
        (name, attack.name) for name, family in CORPUS.items() for attack in family
    }
    assert len({(attack.family, attack.name) for attack in attacks}) == len(attacks)
    assert min(map(len, CORPUS.values())) >= 12
    assert sum(attack.ends == "delivered" for attack in attacks) >= 150, "a refusal proves little about the sink"


def test_the_page_tells_the_numbers() -> None:
    """
    `docs/why/injection.md` counts what there is.
    """
    page = (HOUSE / "docs/why/injection.md").read_text("utf-8")
    mutants = sum(map(len, MUTANTS.values()))

    assert f"holds {sum(map(len, CORPUS.values()))} attacks in {len(CORPUS)} families" in page
    assert f"{mutants} mutants" in page


@pytest.mark.parametrize("family", CORPUS)
async def test_an_attack_changes_nothing_but_words(scene: Scene, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    No attack of a family changes an action or its target, or gets anything but text through; without its
    defence one does.
    """
    stage = Stage(scene)

    assert [] == await stage.play(CORPUS[family])
    for patches in MUTANTS[family]:
        with monkeypatch.context() as patched:
            for owner, name, replacement in patches:
                patched.setattr(owner, name, replacement)
            through = await stage.play(CORPUS[family])
        assert through, f"{family}: nothing needs {patches[0][1]}"


class Stage:
    """
    Attacks a scene, and says what went wrong.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._played = 0

    async def play(self, attacks: Sequence[Attack]) -> list[str]:
        """
        Make all *attacks* at once; return each thing that went wrong.
        """
        scene = self._scene
        for double in (scene.desk, scene.forge):
            double.writes.clear()
        numbers = range(self._played, self._played + len(attacks))
        self._played = numbers.stop
        subjects = [self._open(number, attack) for number, attack in zip(numbers, attacks, strict=True)]
        wrong = []
        for number, attack, subject in zip(numbers, attacks, subjects, strict=True):
            run = await scene.told("issue-triage" if attack.on_issue else "ticket-summary", subject)
            wrong += [f"{attack.family}/{attack.name}: {what}" for what in self._judge(number, attack, subject, run)]
        expected = {path for subject in subjects for _, path in (_way(subject),)}
        wrong += [f"written to {asked.path}" for asked in self._writes if asked.path not in expected]
        return wrong

    @property
    def _writes(self) -> list[Any]:
        return [*self._scene.desk.writes, *self._scene.forge.writes]

    def _judge(self, number: int, attack: Attack, subject: str, run: RunDetail) -> list[str]:
        digits = nonce(self._scene.hub.ledger.secret, run.run.run)
        prompt = self._scene.prompt_with(_word(number))
        wrong = list(wrong_in_prompt(prompt, digits)) if prompt else ["it was not asked about"]
        if run.run.verdict != attack.ends:
            wrong.append(f"it ended {run.run.verdict}: {run.run.error}")
        method, path = _way(subject)
        writes = [asked for asked in self._writes if asked.path == path]
        if len(writes) != (run.run.verdict == "delivered"):
            wrong.append(f"{len(writes)} writes")
        for asked in writes:
            text = _written(asked.json())
            if (asked.method, dict(asked.query)) != (method, {}) or text is None:
                wrong.append(f"another request than it should be: {asked.method} {asked.path} {asked.body!r}")
            else:
                wrong += wrong_in_text(text, attack, prompt)
        return wrong

    def _open(self, number: int, attack: Attack) -> str:
        ticket, company = FIRST_TICKET + number, FIRST_COMPANY + number
        run = run_id(str(company), "ticket-summary", self._scene.source, f"ticket/{ticket}/created")
        digits = nonce(self._scene.hub.ledger.secret, run)

        def filled(text: str) -> str:
            text = text.replace("{NONCE6}", digits[:6]).replace("{NONCE9}", digits[6:]).replace("{NONCE}", digits)
            return text.replace("{TICKET}", str(ticket))

        self._scene.model.orders[_word(number)] = filled(attack.answer())
        carried = {attack.carrier.removeprefix("long"): filled(attack.text) * attack.times}
        return self._issue(number, carried) if attack.on_issue else self._ticket(number, carried)

    def _ticket(self, number: int, carried: dict[str, str]) -> str:
        desk, person, company = self._scene.desk, FIRST_PERSON + number, FIRST_COMPANY + number
        desk.users[person] = {"id": person, "name": "Mallory", "organization_id": company}
        desk.organizations[company] = {
            "id": company,
            "name": carried.get("customer", "Acme"),
            "created_at": "2020-01-01T00:00:00Z",
            "organization_fields": {"tier": carried.get("tier", "gold")},
            "tags": [],
        }
        if before := carried.get("history"):
            desk.opened(subject=before, description=before, requester_id=person, status="solved", silent=True)
        ticket = desk.opened(
            id=FIRST_TICKET + number,
            subject=f"{_word(number)} {carried.get('subject', 'Question')}",
            description=carried.get("description") or carried.get("mail") or "Hello",
            requester_id=person,
            organization_id=company,
            via="email" if "mail" in carried else "web",
        )
        return str(ticket["id"])

    def _issue(self, number: int, carried: dict[str, str]) -> str:
        forge, name = self._scene.forge, f"acme/w{number}"
        forge._repository(name)["description"] = carried.get("repository")
        title = f"{_word(number)} {carried.get('title', 'Crash')}"
        forge.opened(repository=name, number=1, title=title, body=carried.get("body", "It crashes."))
        return f"{name}/issues/1"


def _word(number: int) -> str:
    return f"case{number:04d}case"


def _way(subject: str) -> tuple[str, str]:
    """
    Return the one request that may come of an event about *subject*.
    """
    if "/" in subject:
        return "POST", f"/repos/{subject}/comments"
    return "PUT", f"/api/v2/tickets/{subject}.json"


def _written(body: Any) -> str | None:
    """
    Return the text of a request that does what the pipeline says; None when it does anything else.
    """
    match body:
        case {"ticket": {"comment": {"body": str(text), "public": False} as comment} as ticket}:
            return text if (len(body), len(ticket), len(comment)) == (1, 1, 2) else None
        case {"body": str(text)}:
            return text if len(body) == 1 else None
    return None
