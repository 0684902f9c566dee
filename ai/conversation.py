"""
The conversation with one model: question, perhaps more room, perhaps one repair.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from ai import tokens
from ai.errors import AIError, ErrorClass
from ai.estimates import COMPLAINT, WIDER, room_of
from ai.evidence import unsupported
from ai.providers.contract import Question, Reading, Repair
from penstock.visible import in_sight

if TYPE_CHECKING:
    from ai.client import AI
    from ai.exchange import Exchange
    from ai.output import OutputSchema
    from schemas.entries import Prompt

SAID = 8_000  # characters of a wrong answer that are shown to the model again


class Conversation:
    """
    What is said with one model in an ask: a first try, more room if it was cut, one repair if it was wrong.
    """

    def __init__(self, ai: AI, exchange: Exchange, prompt: Prompt, schema: OutputSchema, evidence: str) -> None:
        self._ai = ai
        self._exchange = exchange
        self._prompt = prompt
        self._schema = schema
        self._evidence = evidence

    async def value(self, max_output: int) -> dict[str, Any]:
        """
        Return the answer's data; raises `AIError`.
        """
        question = self._question(max_output)
        try:
            reading = await self._call(question)
        except AIError as exc:
            if exc.error_class != "truncated":
                raise
            question = replace(question, room=question.room * WIDER)
            reading = await self._call(question)
        value, wrong, _ = self._checked(reading)
        if not wrong:
            return value
        repair = Repair(said=reading.text[:SAID] or "(nothing)", complaint=_complaint(wrong))
        reading = await self._call(replace(question, repair=repair))
        value, wrong, error_class = self._checked(reading)
        if wrong:
            spec = self._exchange.spec
            message = f"model {spec.name!r} ({spec.label}): the answer is wrong after one repair: {'; '.join(wrong)}"
            raise AIError(message, error_class=error_class, model=spec.name)
        return value

    def _question(self, max_output: int) -> Question:
        return Question(
            spec=self._exchange.spec,
            prompt=self._prompt,
            schema_name=self._schema.wire_name,
            schema=self._schema.schema,
            room=room_of(self._exchange.spec, max_output),
        )

    async def _call(self, question: Question) -> Reading:
        counted = self._prompt.tokens + self._schema.tokens
        if question.repair:
            counted += COMPLAINT + tokens.count(question.repair.said)
        while True:
            try:
                reading = await self._with_key(question, counted)
            except AIError as exc:
                if exc.error_class != "rate_limited":
                    raise self._ai.judged(exc) from exc.__cause__
                pacer = await self._ai.paces.too_fast(question.spec.name, exc)
                waits = self._exchange.allowance.waits
                if self._exchange.first or not waits:  # nothing is paid yet, so the run may as well come again
                    raise pacer.paced(question.spec.name) from exc
            else:
                self._ai.worked(question.spec)
                return reading

    async def _with_key(self, question: Question, counted: int) -> Reading:
        keys = await self._ai.keys(question.spec, within=self._exchange.left)
        if not keys:
            return await self._exchange.call(question, None, counted)
        try:
            return await self._exchange.call(question, keys[0], counted)
        except AIError as exc:
            if exc.error_class != "auth":
                raise
            anew = await self._ai.keys(question.spec, within=self._exchange.left, refused=keys[0])
            others = [key for key in (*anew, *keys) if key != keys[0]]
            if not others:
                raise
            return await self._exchange.call(question, others[0], counted)

    def _checked(self, reading: Reading) -> tuple[dict[str, Any], list[str], ErrorClass]:
        try:
            value = self._schema.without_gaps(in_sight(orjson.loads(_json_part(reading.text))))
        except (ValueError, RecursionError) as exc:
            return {}, [f"the answer is not JSON ({exc})"], "invalid_output"
        if wrong := self._schema.validate(value):
            return {}, wrong, "invalid_output"
        missing = unsupported(value, self._evidence, self._schema.literals)
        return value, [f"{text!r} does not occur in the context" for text in missing], "unsupported"


def _complaint(wrong: list[str]) -> str:
    lines = "\n".join(f"- {line}" for line in wrong)
    return (
        f"Your answer cannot be used:\n{lines}\nAnswer again, completely, as JSON that mends this and invents nothing."
    )


def _json_part(text: str) -> str:
    """
    Return *text* without the fence that some servers put around JSON.
    """
    plain = text.strip().removeprefix("\ufeff")
    if plain.startswith("```"):
        plain = plain.removeprefix("```json").removeprefix("```").strip().removesuffix("```")
    return plain
