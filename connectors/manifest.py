"""
A system in YAML: what `connectors/<name>/manifest.yaml` may say.

Everything a REST system needs and nothing a program would need: no loop and no condition over several
calls. Expressions are bare and see JSON data only. What a manifest cannot say is written in Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field as Key
from pydantic import StringConstraints, model_validator

from connectors.budget import BudgetRule
from connectors.edge import Auth, ErrorRule
from connectors.fields import schema_of
from connectors.formulas import Formula
from connectors.mapping import EventRule, Handshake
from connectors.part import Header, Identifier, Part, Path, Words
from connectors.polling import PollRule
from connectors.reading import LookupRule
from connectors.settings import Setting, settings_schema
from connectors.specs import ActionSpec, ConnectorSpec, LookupSpec, SourceSpec
from connectors.verification import Verify
from connectors.writing import ActionRule


class HealthRule(Part):
    """
    One cheap authenticated read that says who we are.
    """

    get: Path
    acts_as: Formula
    """Null when the system does not know us."""
    detail: Formula


class SampleRule(Part):
    """
    A delivery and the events it must give.
    """

    name: Words
    body: Annotated[str, StringConstraints(pattern=r"^[\w./-]+\.json$")]
    """A file in the connector's folder."""
    headers: Mapping[Header, str] = Key(default_factory=dict)
    events: tuple[Mapping[str, Any], ...] = ()


class Manifest(Part):
    """
    A whole system.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
    description: Words
    settings: Mapping[Identifier, Setting]
    url: Identifier
    """The setting that holds the base URL."""
    auth: Auth
    headers: Mapping[Header, str] = Key(default_factory=dict)
    records: Mapping[Identifier, str] = Key(default_factory=dict)
    """Patterns of record ids; their groups are names in paths."""
    verify: Verify | None = None
    recognise: Formula | None = None
    """Whether a signed body is a delivery of this system at all."""
    handshakes: tuple[Handshake, ...] = ()
    events: tuple[EventRule, ...] = ()
    polls: Mapping[Identifier, PollRule] = Key(default_factory=dict)
    own: tuple[Formula, ...] = ()
    """Each sees `event`, `acts_as` and `settings`; the first that holds makes it our own write."""
    lookups: Mapping[Identifier, LookupRule] = Key(default_factory=dict)
    actions: Mapping[Identifier, ActionRule] = Key(default_factory=dict)
    errors: tuple[ErrorRule, ...] = ()
    budget: BudgetRule | None = None
    health: HealthRule
    samples: tuple[SampleRule, ...] = ()

    @model_validator(mode="after")
    def _names(self) -> Self:
        if self.verify is not None and self.verify.public is not None and self.verify.public not in self.settings:
            raise ValueError(f"'public' names {self.verify.public!r}, which is not under 'settings'")
        used = [self.auth.setting, self.verify.secret if self.verify else None]
        for name in (name for name in used if name is not None):
            if name not in self.settings or not self.settings[name].secret:
                raise ValueError(f"{name!r} is not a secret setting (declare it under 'settings' with `secret: true`)")
        if self.url not in self.settings:
            raise ValueError(f"'url' names {self.url!r}, which is not under 'settings'")
        if self.events and self.verify is None:
            raise ValueError("events need a 'verify' block: unsigned deliveries are never believed")
        for action in self.actions.values():
            if action.reads is not None and action.reads not in self.lookups:
                raise ValueError(f"'reads' names {action.reads!r}, which is not under 'lookups'")
            if action.needs is not None and action.needs not in self.settings:
                raise ValueError(f"'needs' names {action.needs!r}, which is not under 'settings'")
        return self

    @property
    def spec(self) -> ConnectorSpec:
        """
        Return what may be known without a connection.
        """
        return self.spec_with({})

    def spec_with(self, settings: Mapping[str, Any]) -> ConnectorSpec:
        """
        Return what there is with these settings; with none, what there is with any.
        """
        return ConnectorSpec(
            name=self.name,
            description=self.description,
            settings=settings_schema(self.settings),
            events=self.event_schemas,
            lookups={name: _lookup_spec(name, rule) for name, rule in self.lookups.items()},
            actions={
                name: _action_spec(name, rule, settings)
                for name, rule in self.actions.items()
                if not settings or rule.needs is None or rule.needs in settings
            },
            guarded=bool(self.own),
            delivers=self.verify is not None,
            sources={
                name: SourceSpec(name=name, description=rule.description, every=rule.every)
                for name, rule in self.polls.items()
                if not settings or rule.wanted(self._plain(settings))
            },
        )

    def _plain(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        plain = {name: setting for name, setting in self.settings.items() if not setting.secret}
        found = {name: settings.get(name, setting.default) for name, setting in plain.items()}
        return {name: given for name, given in found.items() if given is not None}

    @property
    def event_schemas(self) -> dict[str, dict[str, Any]]:
        """
        Return the schema of `event.data` per event type.
        """
        return {
            kind: {**schema_of(rule.data), "description": words}
            for rule in (*self.events, *(rule for poll in self.polls.values() for rule in poll.events))
            for kind, words in rule.types.items()
        }


def _lookup_spec(name: str, rule: LookupRule) -> LookupSpec:
    return LookupSpec(
        name=name,
        description=rule.description,
        fields={field: declared.json_schema for field, declared in rule.fields.items()},
        many=rule.records is not None,
        version=rule.version,
    )


def _action_spec(name: str, rule: ActionRule, settings: Mapping[str, Any]) -> ActionSpec:
    return ActionSpec(
        name=name,
        description=rule.description,
        idempotency=rule.action_class,
        takes=rule.takes,
        modes=rule.modes,
        sets=rule.sets,
        emits=rule.emits,
        touches=rule.touched(settings),
        reads=rule.reads,
        steers=rule.steers,
    )
