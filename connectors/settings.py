"""
The settings of a connection: plain values, and secrets that stay references until they are used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from connectors.contract import JsonSchema
from connectors.part import Part, Words
from penstock.errors import Invalid

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class Revealed(Protocol):
    """
    A secret that tells its text only when asked.
    """

    def reveal(self) -> str:
        """
        Return the text.
        """
        ...


class SecretSource(Protocol):
    """
    Where references such as `${env:TOKEN}` are resolved.
    """

    def get(self, ref: str) -> Revealed:
        """
        Return the secret *ref* names; raises `Invalid` when there is none.
        """
        ...


class Setting(Part):
    """
    One setting of a connection.
    """

    description: Words
    secret: bool = False
    """True when its value is a reference, or two: [new, old]."""
    default: str | None = None
    """May name other settings: `https://{subdomain}.example.com`."""
    pattern: str | None = None
    example: str | None = None

    @property
    def schema(self) -> JsonSchema:
        """
        Return its JSON Schema.
        """
        text: dict[str, Any] = {"type": "string", "minLength": 1}
        if self.pattern:
            text["pattern"] = self.pattern
        schema: dict[str, Any] = {"description": self.description}
        if self.secret:
            pair = {"type": "array", "items": text, "minItems": 1, "maxItems": 2}
            schema |= {"anyOf": [text, pair], "x-secret": True}
        else:
            schema |= text
        if self.default is not None:
            schema["default"] = self.default
        if self.example is not None:
            schema["examples"] = [self.example]
        return schema


def settings_schema(settings: Mapping[str, Setting]) -> JsonSchema:
    """
    Return the closed JSON Schema of *settings*.
    """
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, setting in settings.items() if setting.default is None],
        "properties": {name: setting.schema for name, setting in settings.items()},
    }


class Settled:
    """
    Checked settings of one connection. Secrets are resolved at each use, so that a rotated file counts.
    """

    def __init__(self, declared: Mapping[str, Setting], given: Mapping[str, Any], secrets: SecretSource) -> None:
        _refuse_unknown(declared, given)
        self._secrets = secrets
        self._refs: dict[str, tuple[str, ...]] = {}
        self.values: dict[str, str] = {}
        """Everything that is not secret; what expressions see as `settings`."""
        for name, setting in declared.items():
            if setting.secret:
                self._refs[name] = _references(name, given.get(name))
            elif name in given:
                self.values[name] = _checked(name, setting, given[name])
        for name, setting in declared.items():
            if not setting.secret and name not in self.values:
                self.values[name] = self._default(name, setting)
        for name in self._refs:
            self.secrets(name)  # what is missing is said now, not at the first event

    def __repr__(self) -> str:
        return f"<Settled {sorted(self.values)} and {len(self._refs)} secrets>"

    def _default(self, name: str, setting: Setting) -> str:
        if setting.default is None:
            raise Invalid(f"the setting {name!r} is missing", hint=setting.description)
        return _checked(name, setting, _PLACEHOLDER.sub(lambda found: self.values[found[1]], setting.default))

    def secrets(self, name: str) -> tuple[str, ...]:
        """
        Return the live values of a secret setting, the newest first.
        """
        return tuple(self._secrets.get(ref).reveal() for ref in self._refs[name])

    def revealed(self) -> list[str]:
        """
        Return every secret value, for taking them out of texts.
        """
        return [text for name in self._refs for text in self.secrets(name)]


def _refuse_unknown(declared: Mapping[str, Setting], given: Mapping[str, Any]) -> None:
    for name in given:
        if name not in declared:
            raise Invalid(f"there is no setting {name!r}", hint=f"there are {', '.join(sorted(declared))}")
    missing = [name for name, setting in declared.items() if setting.default is None and name not in given]
    if missing:
        raise Invalid(f"settings are missing: {', '.join(missing)}", hint=declared[missing[0]].description)


def _references(name: str, given: Any) -> tuple[str, ...]:
    refs = tuple(given) if isinstance(given, list | tuple) else (given,)
    if not 1 <= len(refs) <= 2 or not all(isinstance(ref, str) and ref for ref in refs):  # noqa: PLR2004  # new and old
        raise Invalid(f"the setting {name!r} is not a reference, nor [new, old]", hint="write ${env:NAME}")
    return refs


def _checked(name: str, setting: Setting, given: Any) -> str:
    if not isinstance(given, str):
        raise Invalid(f"the setting {name!r} is not text", hint="put it in quotes")
    text = given.rstrip("/") if "://" in given else given
    if setting.pattern and not re.search(setting.pattern, text):
        raise Invalid(f"the setting {name!r} does not look like {setting.pattern}", hint=setting.description)
    return text
