"""
The JSON Schema editors use says the same as the models and the catalog.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from ruamel.yaml import YAML

from connectors import catalog
from pipelines.schema import generate
from tests.pipelines.corpus.harness import BASE, HERE, Catalog

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "schemas" / "pipelines.schema.json"


def plain(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text("utf-8"))


def test_shipped_schema_is_current() -> None:
    """The shipped schema is what is generated now (python -m pipelines.schema > schemas/pipelines.schema.json)."""
    assert generate() == SHIPPED.read_text("utf-8")


def test_generating_is_deterministic() -> None:
    """Generating twice gives the same bytes."""
    assert generate() == generate()


def test_it_is_a_json_schema() -> None:
    """It keeps the rules of its dialect."""
    jsonschema_rs.meta.validate(json.loads(generate()))


@pytest.mark.parametrize("path", ["pipelines.yaml", "console/cli/starter/pipelines.yaml"])
def test_examples_validate(path: str) -> None:
    """The examples we ship fit the schema."""
    found = [
        error.message for error in jsonschema_rs.validator_for(json.loads(generate())).iter_errors(plain(ROOT / path))
    ]

    assert [] == found


@pytest.mark.parametrize(
    "case",
    [
        "keys/typo",
        "keys/misplaced",
        "keys/missing",
        "values/literal",
        "values/yes",
        "values/name",
        "values/target",
        "units/other-currency",
        "units/duration-words",
        "units/percent",
        "context/no-source",
        "context/two-sources",
        "asking/nobody",
        "names/connector",
        "settings/typo",
        "settings/value",
        "settings/not-text",
        "settings/missing",
    ],
)
def test_mistakes_do_not_validate(case: str) -> None:
    """What an editor can know, it refuses: keys, values, units, and the settings of each connector."""
    schema = json.loads(generate(Catalog()))

    assert jsonschema_rs.is_valid(schema, plain(BASE / "pipelines.yaml"))
    assert not jsonschema_rs.is_valid(schema, plain(HERE / case / "pipelines.yaml"))


def test_no_null_can_be_written() -> None:
    """No key takes null: an absent key is left out."""
    assert '"null"' not in generate(Catalog())


def test_every_connector_is_in_it() -> None:
    """Every connector of the catalog can be chosen."""
    enum = json.loads(generate())["definitions"]["Connection"]["properties"]["connector"]["enum"]

    assert list(catalog.names()) == enum


def test_every_key_is_described() -> None:
    """Every key of the language has words for the editor to show."""
    bare = [
        f"{name}.{key}"
        for name, part in json.loads(generate())["definitions"].items()
        for key, field in part.get("properties", {}).items()
        if "description" not in field
    ]

    assert [] == [name for name in bare if not name.startswith("Connection.")]
