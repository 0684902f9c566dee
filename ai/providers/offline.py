"""
Answers without a model: sentences copied out, values guessed from words. Deterministic and free.

For demos, previews and tests. Its answers keep the schema and say nothing the text does not say.
"""

from __future__ import annotations

import orjson

from ai.models import OFFLINE_LABEL
from ai.output import OutputSchema
from ai.providers.contract import Question, Reading
from ai.providers.extract import Source
from ai.providers.filler import Impossible, fill
from penstock.errors import Invalid
from schemas.entries import Usage


def answer(question: Question) -> Reading:
    """
    Answer *question* from its own prompt.
    """
    source = Source.of(question.prompt.user)
    schema = OutputSchema(name=question.schema_name, schema=question.schema)
    try:
        output = fill(question.schema, source)
        wrong = schema.validate(output)
    except Impossible as exc:
        wrong = [f"no value for {str(exc)!r}"]
    if wrong:
        message = f"the offline provider cannot fill the answer schema {schema.name!r}: {wrong[0]}"
        raise Invalid(message, hint="simplify the schema, or name a real model in `ask.model`")
    text = orjson.dumps(output).decode()
    usage = Usage(input=question.prompt.tokens, output=max(len(text) // 4, 1), estimated=True)
    return Reading(text=text, finish_reason="stop", usage=usage, response_model=OFFLINE_LABEL)
