"""
`penstock schema`: the JSON Schemas people and editors need.
"""

from __future__ import annotations

from pathlib import Path

from console.cli import project
from console.cli.streams import write
from penstock.errors import Invalid


def schema(file: Path, what: str, name: str | None) -> int:
    """
    Print one JSON Schema.
    """
    match what:
        case "event":
            write(_event())
        case "answer":
            write(_answer(file, name))
        case _:
            from pipelines.schema import generate

            write(generate())
    return 0


def _event() -> str:
    import orjson

    from schemas.events import Event

    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Event.model_json_schema()}
    return orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()


def _answer(file: Path, name: str | None) -> str:
    loaded = project.load(file)
    pipelines = project.declaration(loaded).pipelines
    if name is None and len(pipelines) == 1:
        (name,) = pipelines
    if name is None or name not in pipelines:
        said = "name a pipeline" if name is None else f"there is no pipeline {name!r}"
        raise Invalid(said, where="penstock schema answer", hint=f"one of {', '.join(pipelines)}")
    path = loaded.root / "schemas" / pipelines[name].ask.output
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise Invalid(f"cannot be read: {error.strerror}", where=str(path)) from None
