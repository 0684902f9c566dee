"""
What the rules of `check` look at: the declaration, its files and the catalog, each read once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import orjson

from connectors.contract import JsonSchema
from connectors.settings import SettingError
from connectors.specs import ActionSpec, ConnectorSpec, LookupSpec
from penstock.errors import Invalid
from penstock.expressions import Expression, ExpressionError, Template, compile_expression
from pipelines.declaration import Connection, Declaration, Pipeline
from pipelines.findings import Finding
from pipelines.loading import Loaded
from pipelines.places import Keys, Place
from pipelines.prompts import PromptTemplate, load_template
from schemas.events import Event

ENVELOPE = tuple(Event.model_fields)


class Catalog(Protocol):
    """
    What is known of connectors: the module `connectors.catalog`, or a stand-in of the same shape.
    """

    def names(self) -> tuple[str, ...]:
        """
        Return the names of all connectors.
        """
        ...

    def spec(self, name: str, settings: Mapping[str, Any] | None = None) -> ConnectorSpec:
        """
        Return one connector's description, as it is with *settings*; raises `Invalid`.
        """
        ...


class Survey:
    """
    One declaration under examination.
    """

    def __init__(self, loaded: Loaded, catalog: Catalog, environ: Mapping[str, str]) -> None:
        assert loaded.sound is not None
        self.declaration: Declaration = loaded.sound
        self.complete = loaded.declaration is not None
        """False when entries were left out because they are broken."""
        self.places = loaded.places
        self.root = loaded.root
        self.data = loaded.data
        self.catalog = catalog
        self.environ = environ
        self._specs: dict[str, ConnectorSpec | None] = {}
        self.misshapen: dict[str, SettingError] = {}
        """The connections a setting of which its connector cannot read."""
        self._templates: dict[str, Template | Invalid] = {}
        self._answers: dict[str, Mapping[str, Any] | None] = {}

    # ---- findings ----

    def error(self, keys: Keys, message: str, hint: str | None = None) -> Finding:
        """
        Return an error at the value at *keys*.
        """
        return Finding(place=self.places.value(*keys), message=message, hint=hint, rule="")

    def error_at_key(self, keys: Keys, message: str, hint: str | None = None) -> Finding:
        """
        Return an error at the key of *keys*.
        """
        return Finding(place=self.places.key(*keys), message=message, hint=hint, rule="")

    def note(self, keys: Keys, message: str, hint: str | None = None) -> Finding:
        """
        Return a note at the value at *keys*.
        """
        return Finding(severity="note", place=self.places.value(*keys), message=message, hint=hint, rule="")

    def in_file(
        self, path: Path, line: int, message: str, hint: str | None = None, *, column: int = 1, word: str = ""
    ) -> Finding:
        """
        Return an error in another file of the project, at the first *word* from *line* on.
        """
        lines = _lines(path)
        for number, text in enumerate(lines[line - 1 :] if word else (), line):
            if found := _word(word).search(text):
                line, column = number, found.start() + 1
                break
        source = lines[line - 1] if 0 < line <= len(lines) else ""
        return Finding(place=Place(str(path), line, column, source), message=message, hint=hint, rule="")

    def at_path(self, keys: Keys, path: Sequence[str], message: str, hint: str | None = None) -> Finding:
        """
        Return an error at the first use of *path* in the expression at *keys*.
        """
        text: Any = self.data
        for key in keys:
            text = text[key]
        found = _word(".".join(path)).search(str(text))
        place = self.places.within(keys, found.start() + 1 if found else 1)
        return Finding(place=place, message=message, hint=hint, rule="")

    # ---- names ----

    def names(self, kind: str) -> list[str]:
        """
        Return every written name of *kind*, also of broken entries.
        """
        written = self.data.get(kind)
        return list(written) if isinstance(written, dict) else []

    @property
    def pipelines(self) -> Iterator[tuple[Keys, Pipeline]]:
        """
        Every pipeline with its keys.
        """
        for name, pipeline in self.declaration.pipelines.items():
            yield ("pipelines", name), pipeline

    def connection(self, name: str) -> Connection | None:
        """
        Return a connection; None when there is none or it is broken.
        """
        return self.declaration.connections.get(name)

    def spec(self, connection: str) -> ConnectorSpec | None:
        """
        Return what is known of a connection's connector; None when that is another rule's finding.
        """
        found = self.connection(connection)
        if found is None:
            return None
        if connection not in self._specs:
            self._specs[connection] = self._spec(connection, found)
        return self._specs[connection]

    def _spec(self, connection: str, found: Connection) -> ConnectorSpec | None:
        if found.connector not in self.catalog.names():
            return None
        try:
            return self.catalog.spec(found.connector, found.settings)
        except SettingError as error:
            self.misshapen[connection] = error
            return None

    def settings(self, connection: str) -> JsonSchema | None:
        """
        Return the schema of a connection's settings; None when there is no such connector.
        """
        if (spec := self.spec(connection)) is not None:
            return spec.settings
        return (
            self.catalog.spec(self.declaration.connections[connection].connector).settings
            if connection in self.misshapen
            else None
        )

    def lookup(self, target: str) -> LookupSpec | None:
        """
        Return what is known of `connection.lookup`.
        """
        connection, _, name = target.partition(".")
        spec = self.spec(connection)
        return spec.lookups.get(name) if spec else None

    def action(self, target: str) -> ActionSpec | None:
        """
        Return what is known of `connection.action`.
        """
        connection, _, name = target.partition(".")
        spec = self.spec(connection)
        return spec.actions.get(name) if spec else None

    def reads(self, target: str) -> LookupSpec | None:
        """
        Return the lookup that reads the record an action writes to.
        """
        action = self.action(target)
        return self.lookup(f"{target.partition('.')[0]}.{action.reads}") if action and action.reads else None

    def event_data(self, pipeline: Pipeline) -> dict[str, JsonSchema]:
        """
        Return the schema of `event.data` per event type the pipeline listens to.
        """
        spec = self.spec(pipeline.trigger.connection)
        return {kind: spec.events[kind] for kind in pipeline.trigger.events if kind in spec.events} if spec else {}

    # ---- expressions and files ----

    def expression(self, text: str | None) -> Expression | None:
        """
        Return *text* compiled; None when it is absent or wrong, which is another rule's finding.
        """
        try:
            return None if text is None else compile_expression(text)
        except ExpressionError:
            return None

    @property
    def templates_folder(self) -> Path:
        """
        Where templates are.
        """
        return self.root / "templates"

    @property
    def schemas_folder(self) -> Path:
        """
        Where the schemas of answers are.
        """
        return self.root / "schemas"

    def template(self, name: str) -> Template | Invalid:
        """
        Return a compiled template, or what is wrong with it.
        """
        if name not in self._templates:
            try:
                self._templates[name] = load_template(self.templates_folder, name)
            except Invalid as error:
                self._templates[name] = error
            except (OSError, ValueError):
                self._templates[name] = Invalid(f"template {name!r} cannot be read")
        return self._templates[name]

    def prompt(self, name: str) -> PromptTemplate | None:
        """
        Return the template of a prompt; None when it cannot be read.
        """
        found = self.template(name)
        return PromptTemplate(template=found) if isinstance(found, Template) else None

    def answer(self, name: str) -> Mapping[str, Any] | None:
        """
        Return the JSON Schema of an answer; None when it cannot be read, which is another rule's finding.
        """
        if name not in self._answers:
            try:
                found = orjson.loads((self.schemas_folder / name).read_bytes())
            except (OSError, ValueError):
                found = None
            self._answers[name] = found if isinstance(found, dict) else None
        return self._answers[name]

    @cached_property
    def known_templates(self) -> list[str]:
        """
        The files in `templates/`.
        """
        return _files(self.templates_folder, "*.j2")

    @cached_property
    def known_schemas(self) -> list[str]:
        """
        The files in `schemas/`.
        """
        return _files(self.schemas_folder, "*.json")


def _word(text: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.]){re.escape(text)}(?!\w)")


def _files(folder: Path, pattern: str) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob(pattern))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError, ValueError):
        return []
