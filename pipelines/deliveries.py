"""
One delivery of a pipeline, compiled: whether it is wanted, of which record, and with which arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from connectors.contract import WriteMode
from penstock.expressions import Expression, Template
from pipelines.declaration import SetField
from pipelines.inert import inert


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPlan:
    """
    One delivery, ready to be carried out.
    """

    step: str
    connection: str
    action: str
    mode: WriteMode
    on_unknown: str
    record: Expression | None
    when: Expression | None
    unless: Expression | None
    template: Template | None
    fields: Mapping[str, tuple[Expression, SetField]]
    show_progress: bool = False
    expires: float | None = None
    """Seconds a person has to approve it."""
    if_record_changed: Literal["rerun", "skip"] | None = None
    """What to do when the record is another than before the model was asked; None to write all the same."""

    def possible(self, scope: Mapping[str, Any]) -> bool:
        """
        Return whether `when` may be true, before there is an answer; *scope* holds `event`.
        """
        if self.when is None or not self.when.roots <= {"event"}:
            return True
        return bool(self.when.evaluate(scope))

    def record_of(self, scope: Mapping[str, Any]) -> str:
        """
        Return the id of the record to write to.
        """
        if self.record is None:
            return str(scope["event"]["subject"])
        return str(self.record.evaluate({"event": scope["event"]}))

    @property
    def needs_record_first(self) -> bool:
        """
        Whether nobody can tell whether it is wanted before the record was read.
        """
        return self.when is not None and "record" in self.when.roots

    def wanted(self, scope: Mapping[str, Any]) -> bool:
        """
        Return whether `when` is true, or absent.
        """
        return self.when is None or bool(self.when.evaluate(scope))

    def unwanted(self, scope: Mapping[str, Any]) -> bool:
        """
        Return whether `unless` is true for the record as it is now.
        """
        return self.unless is not None and bool(self.unless.evaluate(scope))

    @property
    def needs_record(self) -> bool:
        """
        Whether the record must be read again before the write.
        """
        expressions = [e for e in (self.unless, self.when) if e] + [e for e, _ in self.fields.values()]
        return (
            any("record" in expression.roots for expression in expressions)
            or any(field.only_if for _, field in self.fields.values())
            or "record" in self._placed
        )

    @property
    def _placed(self) -> frozenset[str]:
        return self.template.roots() if self.template is not None else frozenset()

    def _as_text(self, scope: Mapping[str, Any]) -> Mapping[str, Any]:
        """
        Return *scope* for a template: what people outside wrote is text, as the answer is.
        """
        return {
            **scope,
            **{name: inert(scope[name]) for name in ("event", "record") if name in self._placed & set(scope)},
        }

    def render(self, scope: Mapping[str, Any]) -> dict[str, Any] | None:
        """
        Return the action's arguments; None when every field was held back.
        """
        args: dict[str, Any] = {}
        if self.template is not None:
            args["text"] = self.template.render(self._as_text(scope)).strip()
        if self.fields:
            args["fields"] = {
                name: expression.evaluate(scope)
                for name, (expression, field) in self.fields.items()
                if _may_set(name, field, scope)
            }
            if not args["fields"] and self.template is None:
                return None
        return args


def _may_set(name: str, field: SetField, scope: Mapping[str, Any]) -> bool:
    if field.min_confidence is not None:
        confidence = scope["output"].get("confidence")
        if not isinstance(confidence, int | float) or confidence < field.min_confidence:
            return False
    return field.only_if != "empty" or scope.get("record", {}).get(name) in (None, "", [], {})
