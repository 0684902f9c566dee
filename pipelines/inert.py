"""
A model's answer, made fit to be written where people and programs read it.

An answer is text. Afterwards nothing in it opens a tag, a comment or a placeholder, whichever of them
the system it goes to would understand: a space stands behind the sign that would have opened it.
"""

from __future__ import annotations

import re
from typing import Any

_OPENS = re.compile(r"<(?=[A-Za-z/!?])|\{(?=[{%#])")


def inert(value: Any) -> Any:
    """
    Return the JSON data *value* with every text in it as text and nothing else.
    """
    match value:
        case str():
            return _OPENS.sub(r"\g<0> ", value)
        case dict():
            return {name: inert(item) for name, item in value.items()}
        case list():
            return [inert(item) for item in value]
        case _:
            return value
