"""
`AI.ask`: the only way a pipeline asks a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import ValidationError

from ai.errors import FAILING, AIError, ErrorClass
from ai.estimates import COMPLAINT, WIDER, estimate, room_of
from ai.evidence import unsupported
from ai.exchange import Allowance, Exchange, Tools
from ai.factors import Factors
from ai.models import ModelSpec
from ai.output import OutputSchema
from ai.providers.contract import Question, Reading, Repair
from penstock.clock import utc
from penstock.errors import Invalid
from schemas.entries import Answer, Prompt

if TYPE_CHECKING:
    from ledger.contract import Cap, Claim, Ledger
    from penstock.clock import Clock
    from penstock.http import Http
    from penstock.secrets import Secrets

OUTAGE = 3  # failures in a row, of any runs, after which a model is taken for down
SAID = 8_000  # characters of a wrong answer that are shown to the model again


class AI:
    """
    The models of a hub. One instance serves any number of runs at once.
    """

    def __init__(
        self,
        models: Mapping[str, ModelSpec],
        *,
        http: Http,
        ledger: Ledger,
        secrets: Secrets,
        clock: Clock,
        fail: Callable[[str], None] | None = None,
    ) -> None:
        self._models = models
        self._ledger = ledger
        self._secrets = secrets
        self._factors = Factors()
        self._tools = Tools(http=http, clock=clock, factors=self._factors, fail=fail or (lambda _name: None))
        self._failures: dict[str, int] = {}

    def spec(self, model: str) -> ModelSpec:
        """
        Return the model called *model*; raises `Invalid`.
        """
        try:
            return self._models[model]
        except KeyError:
            known = ", ".join(repr(name) for name in sorted(self._models)) or "none"
            raise Invalid(f"there is no model {model!r}", hint=f"known models: {known}") from None

    def estimate(self, model: str, prompt_tokens: int, max_output: int) -> tuple[int, int] | None:
        """
        Return what the first try and what the whole ask cost at most; None when the price is unknown.
        """
        spec = self.spec(model)
        moment = utc(self._tools.clock.now_ms())
        return estimate(spec, prompt_tokens, max_output, ratio=self._factors.of(spec), at=moment)

    async def ask(
        self,
        claim: Claim,
        prompt: Prompt,
        *,
        step: str = "ask",
        model: str,
        output: OutputSchema,
        max_output: int,
        timeout: float,
        caps: Sequence[Cap] = (),
        per_event: int | None = None,
        ask_hash: str,
        evidence: str,
        receipt: Any = None,
    ) -> Answer:
        """
        Return the validated answer of *model* to *prompt*, paid at most once per run and generation.

        *timeout* seconds cover every call of the ask. Texts in the answer that must be copied (ids,
        amounts, dates, addresses) must occur in *evidence*.

        Raises `AIError`, `OverBudget`, `Fenced`, and `Invalid` for what a person must mend.
        """
        spec = self.spec(model)
        for anew in (False, True):
            async with self._ledger.step(
                claim, step, kind="ask", action_class="ai", timeout=timeout, input_hash=ask_hash, anew=anew
            ) as held:
                if held.found == "done" and not anew:
                    if (kept := _kept(held.result, output)) is not None:
                        return kept
                    continue  # paid for another schema: of no use now
                deadline = self._tools.clock.monotonic() + timeout
                allowance = Allowance(deadline=deadline, caps=caps, per_event=per_event)
                exchange = Exchange(
                    tools=self._tools, step=held, step_name=step, claim=claim, spec=spec, allowance=allowance
                )
                value = await _Asking(self, exchange, prompt, output, evidence).value(max_output)
                answer = _answer(value, spec, output, ask_hash, exchange.cost)
                await held.done(answer.model_dump(mode="json"), receipt=receipt)
                return answer
        raise AssertionError("a step begun anew is never found done")

    async def recall(self, claim: Claim, *, step: str = "ask", output: OutputSchema, ask_hash: str) -> Answer | None:
        """
        Return the answer that `ask` would take from the ledger: no context has to be made for it.

        None when there is none, or when it answers another question and no delivery relies on it.
        """
        found = await self._ledger.answer(claim.run, step, claim.generation)
        if found is None:
            return None
        result, delivering = found
        answer = _kept(result, output)
        return answer if answer is not None and (delivering or answer.ask_hash == ask_hash) else None

    def keys(self, spec: ModelSpec, *, refresh: bool = False) -> list[str]:
        """
        Return the live keys of *spec*, newest first; empty when it needs none.
        """
        if spec.key is None:
            return []
        if refresh:
            self._secrets.refresh(spec.key)
        return [secret.reveal() for secret in self._secrets.all(spec.key)]

    def judged(self, error: AIError) -> AIError:
        """
        Take a model that fails again and again, whatever it is asked, for down.
        """
        if error.error_class in FAILING:
            self._failures[error.model] = self._failures.get(error.model, 0) + 1
            if self._failures[error.model] >= OUTAGE:
                error.advice = "gate"
        return error

    def worked(self, spec: ModelSpec) -> None:
        """
        Forget earlier failures of *spec*.
        """
        self._failures.pop(spec.name, None)


class _Asking:
    """
    One ask: a first try, more room if it was cut, one repair if it was wrong.
    """

    def __init__(self, ai: AI, exchange: Exchange, prompt: Prompt, schema: OutputSchema, evidence: str) -> None:
        self._ai = ai
        self._exchange = exchange
        self._prompt = prompt
        self._schema = schema
        self._evidence = evidence
        self._schema_tokens = _count(orjson.dumps(dict(schema.schema)).decode())

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
        counted = self._prompt.tokens + self._schema_tokens
        if question.repair:
            counted += COMPLAINT + _count(question.repair.said)
        try:
            reading = await self._with_key(question, counted)
        except AIError as exc:
            raise self._ai.judged(exc) from exc.__cause__
        self._ai.worked(question.spec)
        return reading

    async def _with_key(self, question: Question, counted: int) -> Reading:
        keys = self._ai.keys(question.spec)
        first = keys[0] if keys else None
        try:
            return await self._exchange.call(question, first, counted)
        except AIError as exc:
            if exc.error_class != "auth" or question.spec.key is None:
                raise
            others = [key for key in (*self._ai.keys(question.spec, refresh=True), *keys) if key != first]
            if not others:
                raise
            return await self._exchange.call(question, others[0], counted)

    def _checked(self, reading: Reading) -> tuple[dict[str, Any], list[str], ErrorClass]:
        try:
            value = self._schema.without_gaps(orjson.loads(_json_part(reading.text)))
        except ValueError as exc:
            return {}, [f"the answer is not JSON ({exc})"], "invalid_output"
        if wrong := self._schema.validate(value):
            return {}, wrong, "invalid_output"
        missing = unsupported(value, self._evidence, self._schema.literals)
        return value, [f"{text!r} does not occur in the context" for text in missing], "unsupported"


def _kept(result: Any, output: OutputSchema) -> Answer | None:
    """
    Return the stored answer if it still keeps the schema that is asked for now.
    """
    try:
        answer = Answer.model_validate(result)
    except ValidationError:
        return None
    return None if output.validate(answer.output) else answer.model_copy(update={"stored": True})


def _answer(value: dict[str, Any], spec: ModelSpec, output: OutputSchema, ask_hash: str, cost: int) -> Answer:
    return Answer(
        output=value,
        model=spec.name,
        provider=spec.provider,
        label=spec.label,
        ask_hash=ask_hash,
        schema_hash=output.hash,
        cost=cost,
    )


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


def _count(text: str) -> int:
    from ai import tokens

    return tokens.count(text)


def open(  # noqa: A001 - every room is opened by its `open`
    models: Mapping[str, ModelSpec],
    *,
    http: Http,
    ledger: Ledger,
    secrets: Secrets,
    clock: Clock,
    fail: Callable[[str], None] | None = None,
) -> AI:
    """
    Return the AI layer over *models*.
    """
    return AI(models, http=http, ledger=ledger, secrets=secrets, clock=clock, fail=fail)
