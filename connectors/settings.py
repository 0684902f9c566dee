"""
The settings of a connection: plain values, and secrets that stay references until they are used.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import jsonschema_rs
from pydantic import model_validator

from connectors.contract import JsonSchema
from connectors.part import Part, Words
from penstock.errors import Invalid
from penstock.secrets import MissingSecret, Secret, SecretAway, SecretRef, SecretRefs

HELD = 6  # values of one secret
_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class SettingError(Invalid):
    """
    A mistake inside a setting that is data.
    """

    def __init__(self, message: str, keys: Sequence[str | int], hint: str | None = None) -> None:
        path = ".".join(str(key) for key in keys)
        super().__init__(f"the setting {path!r}: {message}", hint=hint)
        self.keys = tuple(keys)
        """Where it is: the setting's name, and the way from there."""
        self.said = message

    def under(self, *keys: str) -> SettingError:
        """
        Return the same mistake as it is seen from further up: a declaration has several connections.
        """
        return SettingError(self.said, (*keys, *self.keys), self.hint)


class SecretSource(Protocol):
    """
    Where references such as `${env:TOKEN}` are resolved.
    """

    def all(self, refs: SecretRef | SecretRefs) -> tuple[Secret, ...]:
        """
        Return the live values of *refs*, newest first; raises `MissingSecret` or `SecretAway`.
        """
        ...

    async def renew(self, refs: SecretRefs) -> None:
        """
        Read *refs* anew now, since a system refuses what we have; what cannot be read stays as it was.
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
    optional: bool = False
    """True when it may be left out without a default."""
    pattern: str | None = None
    example: str | None = None
    shape: JsonSchema | None = None
    """The JSON Schema of a setting that is data, not text."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.shape is not None and (self.secret or self.default is not None or self.pattern is not None):
            raise ValueError("a setting with a 'shape' is no secret, and has no 'default' and no 'pattern'")
        return self

    @property
    def json_schema(self) -> JsonSchema:
        """
        Return its JSON Schema.
        """
        if self.shape is not None:
            return {**self.shape, "description": self.description}
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


def check_shapes(declared: Mapping[str, Setting], given: Mapping[str, Any]) -> None:
    """
    Raise `SettingError` for the first of the *given* settings that is data of another shape than it is declared to be.
    """
    for name, setting in declared.items():
        if setting.shape is not None and name in given:
            _shaped(name, setting.shape, given[name])


def settings_schema(settings: Mapping[str, Setting]) -> JsonSchema:
    """
    Return the closed JSON Schema of *settings*.
    """
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, setting in settings.items() if setting.default is None and not setting.optional],
        "properties": {name: setting.json_schema for name, setting in settings.items()},
    }


class Settled:
    """
    Checked settings of one connection. Secrets are resolved at each use, so that a rotated file counts.
    """

    def __init__(self, declared: Mapping[str, Setting], given: Mapping[str, Any], secrets: SecretSource) -> None:
        _refuse_unknown(declared, given)
        self._source = secrets
        hidden = [name for name, setting in declared.items() if setting.secret and name in given]
        self._refs = {name: _references(name, given[name]) for name in hidden}
        self._known: dict[SecretRef, tuple[Secret, ...]] = {}
        self._held: dict[str, list[Secret]] = {name: [] for name in self._refs}
        """What was in our hands of each setting, newest first: a system may repeat an old one yet."""
        self._texts: dict[str, tuple[tuple[Secret, ...], tuple[str, ...]]] = {}
        """What each setting was resolved to last, and its texts: every request asks for them."""
        self.values: dict[str, Any] = {}
        """Everything that is not secret and was given or has a default; what expressions see as `settings`."""
        plain = {name: setting for name, setting in declared.items() if not setting.secret}
        for name, setting in sorted(plain.items(), key=lambda item: item[0] not in given):
            if name in given or setting.default is not None:
                self.values[name] = _checked(name, setting, given.get(name) or self._default(setting))
        self._resolve_all()

    def __repr__(self) -> str:
        return f"<Settled {sorted(self.values)} and {len(self._refs)} secrets>"

    def secrets(self, name: str) -> tuple[str, ...]:
        """
        Return the live values of a secret setting, the newest first; raises `SecretAway` when there are none now.

        One that was left out has none.
        """
        if name not in self._refs:
            return ()
        newest, *others = self._refs[name]
        found = self._get(newest)
        for ref in others:
            with contextlib.suppress(SecretAway):
                found += self._get(ref)
        known = self._texts.get(name)
        if known is None or known[0] != found:
            self._hold(name, found)
            known = self._texts[name] = found, tuple(dict.fromkeys(secret.reveal() for secret in found))
        return known[1]

    async def renew(self, name: str) -> None:
        """
        Read a secret setting anew, which the system refuses: there may be a newer one.
        """
        if name in self._refs:
            await self._source.renew(self._refs[name])

    def held(self, name: str) -> list[str]:
        """
        Return the values of a secret setting that were in our hands, newest first. Never raises.
        """
        with contextlib.suppress(SecretAway):
            self.secrets(name)
        return [secret.reveal() for secret in self._held.get(name, ())]

    def revealed(self) -> list[str]:
        """
        Return every secret value, for taking them out of texts.
        """
        return [text for name in self._refs for text in self.held(name)]

    def _get(self, ref: SecretRef) -> tuple[Secret, ...]:
        try:
            self._known[ref] = self._source.all(ref)
        except MissingSecret:  # while a file is being replaced, what was known holds
            return self._known.get(ref, ())
        return self._known[ref]

    def _hold(self, name: str, found: tuple[Secret, ...]) -> None:
        held = self._held[name]
        if found != tuple(held[: len(found)]):
            self._held[name] = [*dict.fromkeys((*found, *held))][:HELD]

    def _resolve_all(self) -> None:
        """
        Say now what is missing, all of it at once; an old secret may be gone.
        """
        missing = []
        for refs in self._refs.values():
            try:
                self._known[refs.newest] = self._source.all(refs.newest)
            except MissingSecret as error:
                missing.append(error)
        if missing:
            raise MissingSecret.of_all(missing)

    def _default(self, setting: Setting) -> str:
        return _PLACEHOLDER.sub(lambda found: self.values[found[1]], setting.default or "")


def _refuse_unknown(declared: Mapping[str, Setting], given: Mapping[str, Any]) -> None:
    for name in given:
        if name not in declared:
            raise Invalid(f"there is no setting {name!r}", hint=f"there are {', '.join(sorted(declared))}")
    needed = [name for name, setting in declared.items() if setting.default is None and not setting.optional]
    missing = [name for name in needed if name not in given]
    if missing:
        raise Invalid(f"settings are missing: {', '.join(missing)}", hint=declared[missing[0]].description)


def _references(name: str, given: Any) -> SecretRefs:
    try:
        return SecretRefs.parse(given)
    except ValueError as error:
        raise Invalid(f"the setting {name!r}: {error}") from None


def _checked(name: str, setting: Setting, given: Any) -> Any:
    if setting.shape is not None:
        return _shaped(name, setting.shape, given)
    if not isinstance(given, str):
        raise Invalid(f"the setting {name!r} is not text", hint="put it in quotes")
    text = given.rstrip("/") if "://" in given else given
    if setting.pattern and not re.search(setting.pattern, text):
        raise Invalid(f"the setting {name!r} does not look like {setting.pattern}", hint=setting.description)
    return text


def _shaped(name: str, shape: JsonSchema, given: Any) -> Any:
    wrong = next(iter(jsonschema_rs.validator_for(dict(shape)).iter_errors(given)), None)
    if wrong is not None:
        raise SettingError(str(wrong).splitlines()[0], (name, *wrong.instance_path))
    return given
