"""
Prompt templates: what they may do, and that what was counted is what is sent.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path

import jsonschema_rs
import pytest

from ai import tokens
from penstock.errors import Invalid
from penstock.expressions import ExpressionError, compile_template
from pipelines.context import Assembled
from pipelines.prompts import PromptTemplate, build_prompt
from schemas.entries import SectionReceipt

ROOT = Path(__file__).parents[2]
DIGITS = "048213579624"
SYSTEM = "{% block system %}Be brief.{% endblock %}"


def template(user: str, system: str = SYSTEM) -> PromptTemplate:
    return PromptTemplate(
        template=compile_template(f"{system}\n{{% block user %}}{user}{{% endblock %}}", "templates/x.j2")
    )


def framed(name: str, body: str) -> str:
    return f"<{name} {DIGITS}>\n{body}\n</{name} {DIGITS}>\n" if body else ""


def assembled(bodies: Mapping[str, str]) -> Assembled:
    texts = {name: framed(name, body) for name, body in bodies.items()}
    receipts = tuple(
        SectionReceipt(
            name=name, priority=1, floor=0, ceiling=None, wanted=tokens.count(text), kept=tokens.count(text),
            units=1, units_kept=1, unit="paragraphs", cut="end",
        )
        for name, text in texts.items()
    )  # fmt: skip
    used = sum(receipt.kept for receipt in receipts)
    return Assembled(
        texts=texts, receipts=receipts, budget=1000, used=used, nonce=DIGITS, supported_text="".join(bodies.values())
    )


BODIES = {"customer": "name: Nadia", "orders": "", "ticket": "It is late."}


def test_context_places_every_section() -> None:
    """`{{ context }}` is all sections in written order; the instructions stand around it."""
    prompt, receipt = build_prompt(template("Read this:\n{{ context }}\nAnswer now."), assembled(BODIES))

    assert prompt.system == "Be brief."
    assert prompt.user == (
        f"Read this:\n{framed('customer', 'name: Nadia')}{framed('ticket', 'It is late.')}Answer now."
    )
    assert prompt.nonce == DIGITS
    assert prompt.tokens == tokens.count(prompt.system) + tokens.count(prompt.user)
    assert receipt.used + receipt.instructions == prompt.tokens


def test_names_place_one_section_on_lines_of_its_own() -> None:
    """A section placed in the middle of a line still begins and ends lines."""
    prompt, _ = build_prompt(template("Ticket: {{ ticket }} / {{ customer }}{{ orders }}"), assembled(BODIES))

    assert prompt.user == f"Ticket: \n{framed('ticket', 'It is late.')} / \n{framed('customer', 'name: Nadia')}"


def test_an_empty_section_is_false() -> None:
    """`{% if orders %}` is false when nothing was kept, true when something was."""
    asked = template("{% if orders %}Orders:\n{{ orders }}{% endif %}{% if ticket %}Ticket:\n{{ ticket }}{% endif %}")

    prompt, _ = build_prompt(asked, assembled(BODIES))

    assert prompt.user == f"Ticket:\n{framed('ticket', 'It is late.')}"


def test_event_text_never_meets_jinja() -> None:
    """Jinja, and the marks that stand for sections while rendering, stay text in a section."""
    hostile = "{{ customer }}{% for a in b %}\\g<0>"

    prompt, _ = build_prompt(template("{{ context }}"), assembled({**BODIES, "ticket": hostile}))

    assert hostile in prompt.user
    assert prompt.user.count("name: Nadia") == 1


def test_what_is_not_placed_is_not_counted() -> None:
    """A section a condition left out counts nothing and its receipt says so."""
    prompt, receipt = build_prompt(template("{{ ticket }}{% if orders %}{{ customer }}{% endif %}"), assembled(BODIES))

    assert "Nadia" not in prompt.user
    assert [(one.name, one.kept > 0, one.note) for one in receipt.sections] == [
        ("customer", False, "the template did not place it"),
        ("orders", False, None),
        ("ticket", True, None),
    ]
    assert receipt.used == tokens.count(framed("ticket", "It is late."))


def test_nothing_stands_in_a_prompt_twice() -> None:
    """A section that would be placed twice is refused: its tokens were counted once."""
    with pytest.raises(Invalid, match="'ticket' would stand in the prompt twice"):
        build_prompt(template("{{ ticket }}{{ context }}"), assembled(BODIES))


def test_sums_are_exact_for_random_templates() -> None:
    """Instructions counted piece by piece and sections counted alone add up to the whole prompt."""
    rng = random.Random(3)
    between = ["", "\n", "\n\n", "  \n", " / ", "Now: ", "\n/x\n", "- a\n- b\n", "é\n", "#\n\n\n", "\t"]
    for _ in range(300):
        bodies = {name: rng.choice(["", "a.", "/x", "key: v\n\nkey: w", "…\n你好"]) for name in ("a", "b", "c")}
        user = "".join(rng.choice(between) + f"{{{{ {name} }}}}" for name in rng.sample("abc", 3)) + rng.choice(between)
        kept = assembled({name: body.replace("/x", " /x") for name, body in bodies.items()})
        prompt, receipt = build_prompt(template(user), kept)
        outside = prompt.user
        for text in kept.texts.values():
            outside = outside.replace(text, "\0", 1) if text else outside
        alone = tokens.count(prompt.system) + sum(tokens.count(part) for part in outside.split("\0"))

        assert receipt.instructions == alone
        assert prompt.tokens == tokens.count(prompt.system) + tokens.count(prompt.user)


PROBLEMS = [
    ("{{ context }}", []),
    ("{{ ticket }}{% if orders %}{{ orders }}{% endif %}{{ customer }}", []),
    ("{{ ticket }}", ["it does not place section 'customer'", "it does not place section 'orders'"]),
    ("{{ context }}{{ ticket.subject }}", ["'ticket' is finished text and has no field 'subject'"]),
    ("{{ context }}{{ ticket }}", ["'ticket' is already part of {{ context }}"]),
    ("{{ context | upper }}{{ ticket }}{{ orders }}{{ customer }}", ["'context' is finished, counted text"]),
    ("{{ context }}{{ event.data.subject }}", ["it uses 'event'; there are context, customer, orders, ticket"]),
    ("{{ context }}{{ tickt }}", ["it uses 'tickt'"]),
]


@pytest.mark.parametrize(("user", "messages"), PROBLEMS)
def test_problems_are_found_before_a_run(user: str, messages: list[str]) -> None:
    """Every misuse of a section is named, with its line."""
    found = template(user).problems(list(BODIES))

    assert len(found) == len(messages)
    assert all(problem.message.startswith(message) for problem, message in zip(found, messages, strict=True))
    assert all(problem.line in (1, 2) for problem in found)


def test_the_system_block_holds_instructions_only() -> None:
    """A name in the system block is a problem: the block is the same for every event."""
    found = template("{{ context }}", "{% block system %}For {{ event.subject }}{% endblock %}").problems(list(BODIES))

    assert [problem.message.partition(",")[0] for problem in found] == ["the system block holds instructions only"]


def test_both_blocks_are_needed() -> None:
    """A template without a block says which."""
    found = PromptTemplate(template=compile_template("{{ ticket }}", "x.j2")).problems(["ticket"])

    assert [problem.message for problem in found] == ["it needs a block 'system'", "it needs a block 'user'"]


def test_loading_says_what_is_wrong(tmp_path: Path) -> None:
    """A template that is missing, outside its folder or not Jinja is an error with its place."""
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "broken.j2").write_text("a\n{{ b | shout }}")
    (tmp_path / "secret.j2").write_text("secret")

    with pytest.raises(Invalid, match=r"template 'none\.j2' cannot be read"):
        PromptTemplate.load(folder, "none.j2")
    with pytest.raises(Invalid, match="is outside 'templates'"):
        PromptTemplate.load(folder, "../secret.j2")
    with pytest.raises(ExpressionError, match=r"templates/broken\.j2:2: there is no filter 'shout'"):
        PromptTemplate.load(folder, "broken.j2")


@pytest.mark.parametrize("name", ["ticket-summary", "issue-triage"])
def test_the_worked_prompts_are_sound(name: str) -> None:
    """The prompts in templates/ place any sections and ask for what their schema takes."""
    prompt = PromptTemplate.load(ROOT / "templates", f"{name}.j2")
    schema = json.loads((ROOT / "schemas" / f"{name}.json").read_text())
    system = prompt.template.render_block("system", {})

    assert prompt.problems(["ticket", "history"]) == []
    assert jsonschema_rs.meta.is_valid(schema)
    assert schema["additionalProperties"] is False
    assert all(f"- {field}:" in system for field in schema["required"])
    assert set(schema["required"]) == set(schema["properties"])
