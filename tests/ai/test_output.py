from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ai.output import OutputSchema, ask_hash
from penstock.errors import Invalid

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["a"],
    "properties": {
        "a": {"type": ["string", "null"]},
        "b": {"type": "integer"},
        "c": {"anyOf": [{"$ref": "#/$defs/inner"}, {"type": "null"}]},
        "d": {"type": "array", "items": {"$ref": "#/$defs/inner"}},
    },
    "$defs": {"inner": {"type": "object", "properties": {"x": {"type": "string"}}}},
}
OUTPUT = OutputSchema(name="ticket summary.json", schema=SCHEMA)


def test_complaints_say_where() -> None:
    """
    Each complaint names its place, long values are shortened, and not all of many are told.
    """
    wrong = OUTPUT.validate({"a": 1, "d": [{"x": 1}, {"x": ["y" * 5000]}]})

    assert wrong[0].startswith("a: ")
    assert wrong[1].startswith("d.0.x: ")
    assert all(len(line) < 300 for line in wrong)


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_an_answer_is_an_object(value: Any) -> None:
    """
    Anything but an object is refused, whatever the schema allows.
    """
    assert OutputSchema(name="t", schema={}).validate(value) == ["the answer is not a JSON object"]


def test_formats_are_checked() -> None:
    """
    `format` is a rule, not a remark.
    """
    schema = OutputSchema(name="t", schema={"properties": {"d": {"format": "date"}}})

    assert schema.validate({"d": "2026-02-30"}) != []
    assert schema.validate({"d": "2026-02-28"}) == []


def test_nulls_that_fill_gaps_are_dropped() -> None:
    """
    A null stays where the schema takes one and goes where it stood for nothing, however deep.
    """
    value = {"a": None, "b": None, "c": {"x": None}, "d": [{"x": None}, {"x": "y"}]}

    assert OUTPUT.without_gaps(value) == {"a": None, "c": {}, "d": [{}, {"x": "y"}]}


def test_hashes() -> None:
    """
    The order of keys changes no hash; everything that changes the question does.
    """
    turned = {name: SCHEMA[name] for name in reversed(SCHEMA)}
    base: dict[str, Any] = {"template": "t", "schema": SCHEMA, "models": ["openai/m"], "sections": {"x": 1}}
    others = [base | {"template": "u"}, base | {"schema": {}}, base | {"models": []}, base | {"sections": {}}]

    assert OutputSchema(name="t", schema=turned).hash == OUTPUT.hash
    assert ask_hash(**base) == ask_hash(**base | {"schema": turned})
    assert len({ask_hash(**base), *(ask_hash(**other) for other in others)}) == 5


def test_wire_names() -> None:
    """
    Models see a name of letters, digits, dashes and at most 64 characters.
    """
    assert OUTPUT.wire_name == "ticket_summary_json"
    assert OutputSchema(name="é" * 99, schema={}).wire_name == "_" * 64


@pytest.mark.parametrize(
    "schema", [{"type": "nope"}, {"$ref": "#/$defs/nobody"}, {"$ref": "http://127.0.0.1:9/x.json"}]
)
def test_a_broken_schema(schema: dict[str, Any]) -> None:
    """
    A schema that is none, or that points outside its file, is refused by name; nothing is fetched.
    """
    with pytest.raises(Invalid, match="answer schema 't' is not a JSON Schema"):
        OutputSchema(name="t", schema=schema).validate({})


def test_importing_ai_is_light() -> None:
    """
    `import ai` loads no SDK, no price list, no tokenizer and no HTTP library.
    """
    heavy = ("openai", "anthropic", "genai_prices", "tiktoken", "httpx", "aiohttp", "jsonschema_rs")
    code = f"import sys, ai; print([name for name in {heavy!r} if name in sys.modules])"
    root = Path(__file__).parents[2]

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)

    assert done.stdout.strip() == "[]"
