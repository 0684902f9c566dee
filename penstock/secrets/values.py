"""
A secret as a value: its text is given only to whom asks for it.
"""

from __future__ import annotations

from typing import NoReturn

from penstock.redaction import MASK


class Secret:
    """
    The text of a secret. Printed, formatted or shown in an error it is `***`.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """
        Return the text itself, to be handed straight to whatever needs it.
        """
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is never pickled: resolve its reference where it is needed.")
