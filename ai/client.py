"""
`AI.ask`: the only way a pipeline asks a model.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ai.batches import Batches
from ai.cache import Cache
from ai.conversation import Conversation
from ai.errors import FAILING, AIError
from ai.estimates import billed_input, estimate, room_of
from ai.exchange import Allowance, Exchange, Tools
from ai.factors import Factors
from ai.keyring import Keyring
from ai.meters import Meters
from ai.models import ModelSpec
from ai.output import OutputSchema
from ai.pacing import PATIENCE, Paces
from ai.pairs import COMPARED, comparison_of, of_both, pair_of
from ai.routing import Ladder, Said, climb
from ledger.pacing import Need
from ledger.pairing import SHADOW
from penstock.clock import utc
from penstock.errors import Invalid
from penstock.metrics import Instruments
from schemas.entries import Answer, Prompt

if TYPE_CHECKING:
    from ai.batching import Terms
    from ledger.batching import Item
    from ledger.contract import Cap, Claim, Ledger, Step
    from penstock.clock import Clock
    from penstock.http import Http
    from penstock.secrets import Secrets
    from penstock.tracing import Tracing

_OF_THE_CACHE = {"question", "cached", "saved"}
"""Left out where there is no cache: workers of an older version read what is kept."""
OUTAGE = 3  # failures in a row, of any runs, after which a model is taken for down
LOOKS_BACK = 30.0  # seconds over which calls are counted
ENOUGH = 20  # calls of that time at least, to say anything by how many failed
HALF = 0.5  # share of them that fail when a model is taken for down


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
        keyring: Keyring | None = None,
        fail: Callable[[str], None] | None = None,
        instruments: Instruments | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._models = models
        self._ledger = ledger
        self._keyring = keyring or Keyring(secrets, http)
        self._factors = Factors()
        meters = Meters(instruments or Instruments())
        self.paces = Paces(models, ledger=ledger, clock=clock, meters=meters)
        self.cache = Cache(
            ledger=ledger, clock=clock, meters=meters, fail=fail or (lambda _name: None), tracing=tracing
        )
        self._tools = Tools(
            http=http,
            clock=clock,
            factors=self._factors,
            meters=meters,
            paces=self.paces,
            tracing=tracing,
            ledger=ledger,
            fail=fail or (lambda _name: None),
        )
        self.batches = Batches(models, tools=self._tools, keyring=self._keyring)
        self._failures: dict[str, int] = {}
        self._lately: dict[str, deque[tuple[float, bool]]] = {}
        """When calls of each model ended of late, and whether they failed; kept only once one has failed."""

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
        model: str | Ladder,
        output: OutputSchema,
        max_output: int,
        timeout: float,
        caps: Callable[[], Sequence[Cap]] = tuple,
        per_event: int | None = None,
        ask_hash: str,
        evidence: str,
        receipt: Any = None,
        new: bool = False,
        patient: bool = False,
        batch: Terms | None = None,
        question: str = "",
    ) -> Answer:
        """
        Return the validated answer of *model*, or of one of several, to *prompt*; paid at most once per run
        and generation. It says that it answers *question*, the key of one whose answer may be used again.

        *timeout* seconds cover every call of the ask; *caps* gives those that hold for a call made now.
        *new* says that the ledger can know nothing of this ask, *patient* that others may go before it.
        With *batch* the first question is left to a batch, or its answer is taken from there.
        Texts in the answer that must be copied (ids, amounts, dates, addresses) must occur in *evidence*.

        Raises `AIError`, `OverBudget`, `Paced`, `Batched`, `Fenced`, and `Invalid` for what a person must mend.
        """
        ladder = Ladder(models=(model,)) if isinstance(model, str) else model
        if batch is None and (pacer := self.paces.of(ladder.models[0])) is not None:
            pacer.arrives(claim.run)
            await self._turn(ladder.models[0], prompt.tokens + output.tokens, max_output, patient=patient)
        for anew in (False, True):
            async with self._ledger.step(
                claim, step, kind="ask", action_class="ai", timeout=timeout, input_hash=ask_hash, anew=anew, new=new
            ) as held:
                if held.found == "done" and not anew:
                    if (kept := _kept(held.result, output)) is not None:
                        return kept
                    continue  # paid for another schema: of no use now
                deadline = self._tools.clock.monotonic() + timeout
                allowance = Allowance(deadline=deadline, caps=caps, per_event=per_event, batch=batch)
                calls = partial(self._exchange, step=held, step_name=step, claim=claim, allowance=allowance)
                climbed = await climb(
                    ladder, calls, lambda each: Conversation(self, each, prompt, output, evidence).value(max_output)
                )
                answer = _answer(climbed.value, climbed.spec, output, ask_hash, climbed.cost, question)
                await held.done(
                    answer.model_dump(mode="json", exclude=None if question else _OF_THE_CACHE),
                    receipt=receipt,
                    pair=of_both(claim, ladder, climbed, output),
                )
                return answer
        raise AssertionError("a step begun anew is never found done")

    async def shadow(
        self,
        claim: Claim,
        prompt: Prompt,
        answer: Answer,
        *,
        model: Ladder,
        output: OutputSchema,
        max_output: int,
        timeout: float,
        caps: Callable[[], Sequence[Cap]] = tuple,
        per_event: int | None = None,
        ask_hash: str,
        evidence: str,
    ) -> bool | None:
        """
        Ask the second model of *model*, which has a shadow, for what the first one answered with *answer*; return
        whether they agree. Nothing is kept but that: no answer, and no trace in the ask.

        None when it was asked before, for whatever came of it: at most once per run. It never waits for its turn.
        The rest is as in `ask`.
        """
        name, comparison = model.models[1], comparison_of(model, output)
        model.may_ask(name)
        async with self._ledger.step(
            claim, SHADOW, kind="lookup", action_class="ai", timeout=timeout, input_hash=ask_hash
        ) as held:
            if held.found != "fresh" or held.attempts > 1:
                return None
            deadline = self._tools.clock.monotonic() + timeout
            allowance = Allowance(deadline=deadline, caps=caps, per_event=per_event, waits=False)
            exchange = self._exchange(name, 1, COMPARED, step=held, step_name=SHADOW, claim=claim, allowance=allowance)
            value = await Conversation(self, exchange, prompt, output, evidence).value(max_output)
            kept, other = Said(value=answer.output, cost=answer.cost), Said(value=value, cost=exchange.cost)
            pair = pair_of(model, comparison, kept, other, used=True)
            await held.done({"model": name, "agree": pair.agree}, pair=pair)
            return pair.agree

    async def _turn(self, model: str, counted: int, max_output: int, *, patient: bool) -> None:
        """
        Wait for the turn of the first call, before anything is reserved for it.
        """
        spec = self.spec(model)
        given = billed_input(counted, self._factors.of(spec))
        need = Need(input=given, output=room_of(spec, max_output), patient=patient)
        await self.paces.turn(model, need, patience=PATIENCE)

    def _exchange(
        self, model: str, rung: int, cause: str, *, step: Step, step_name: str, claim: Claim, allowance: Allowance
    ) -> Exchange:
        return Exchange(
            tools=self._tools,
            step=step,
            step_name=step_name,
            claim=claim,
            spec=self.spec(model),
            rung=rung,
            cause=cause,
            allowance=allowance,
        )

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

    async def item(self, claim: Claim, *, step: str = "ask") -> Item | None:
        """
        Return what became of the question of *claim*'s run in a batch; None when it is in none.
        """
        return await self._ledger.item(claim, step)

    async def keys(self, spec: ModelSpec, *, within: float, refused: str | None = None) -> list[str]:
        """
        Return what opens *spec*, newest first, read or fetched anew after a *refused* one; empty when it needs none.

        A sign-in has *within* seconds. Raises `AIError`.
        """
        try:
            async with asyncio.timeout(within):
                return await self._keyring.of(spec, refused=refused)
        except TimeoutError:
            message = f"model {spec.name!r} ({spec.label}): no sign-in within {within:.1f} s"
            raise AIError(message, error_class="connection", model=spec.name) from None
        except AIError as error:
            error.args = (f"model {spec.name!r} ({spec.label}): {error}",)
            error.model = spec.name
            raise

    def judged(self, error: AIError) -> AIError:
        """
        Take a model for down that fails again and again, or every second time, whatever it is asked.
        """
        if error.error_class in FAILING:
            self._failures[error.model] = self._failures.get(error.model, 0) + 1
            lately = self._lately.setdefault(error.model, deque(maxlen=1000))
            lately.append((self._tools.clock.monotonic(), True))
            if self._failures[error.model] >= OUTAGE or self._half_failed(lately):
                error.advice = "gate"
                lately.clear()
        return error

    def worked(self, spec: ModelSpec) -> None:
        """
        Forget earlier failures of *spec*, but for how many there were lately.
        """
        self._failures.pop(spec.name, None)
        if (lately := self._lately.get(spec.name)) is not None:
            lately.append((self._tools.clock.monotonic(), False))

    def _half_failed(self, lately: deque[tuple[float, bool]]) -> bool:
        since = self._tools.clock.monotonic() - LOOKS_BACK
        while lately and lately[0][0] < since:
            lately.popleft()
        return len(lately) >= ENOUGH and sum(failed for _, failed in lately) >= HALF * len(lately)


def _kept(result: Any, output: OutputSchema) -> Answer | None:
    """
    Return the stored answer if it still keeps the schema that is asked for now.
    """
    try:
        answer = Answer.model_validate(result)
    except ValidationError:
        return None
    return None if output.validate(answer.output) else answer.model_copy(update={"stored": True})


def _answer(
    value: dict[str, Any], spec: ModelSpec, output: OutputSchema, ask_hash: str, cost: int, question: str
) -> Answer:
    return Answer(
        output=value,
        model=spec.name,
        provider=spec.provider,
        label=spec.label,
        ask_hash=ask_hash,
        schema_hash=output.hash,
        cost=cost,
        question=question,
    )


def open(  # noqa: A001 - every room is opened by its `open`
    models: Mapping[str, ModelSpec],
    *,
    http: Http,
    ledger: Ledger,
    secrets: Secrets,
    clock: Clock,
    keyring: Keyring | None = None,
    fail: Callable[[str], None] | None = None,
    instruments: Instruments | None = None,
    tracing: Tracing | None = None,
) -> AI:
    """
    Return the AI layer over *models*; keys come from *secrets* and the clouds' sign-ins unless *keyring* has them.
    """
    return AI(
        models,
        http=http,
        ledger=ledger,
        secrets=secrets,
        clock=clock,
        keyring=keyring,
        fail=fail,
        instruments=instruments,
        tracing=tracing,
    )
