"""
What is raised when a reference does not lead to a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from penstock.errors import Invalid, Unavailable
from penstock.secrets.references import SecretRef


class MissingSecret(Invalid):
    """
    One or more references lead to nothing.
    """

    def __init__(self, problems: Mapping[SecretRef, str]) -> None:
        self.problems = dict(problems)
        """For each reference, what is wrong and how to mend it."""
        super().__init__(listed(self.problems))

    @classmethod
    def of_all(cls, errors: Iterable[MissingSecret]) -> MissingSecret:
        """
        Return one error that lists what is missing in *errors*, each reference once.
        """
        return cls({ref: problem for error in errors for ref, problem in error.problems.items()})


class SecretAway(Unavailable):
    """
    The store of a secret has not given it for too long; what needs it waits until it does.
    """


def listed(problems: Mapping[SecretRef, str]) -> str:
    """
    Return each reference with what is wrong with it, never with its value.
    """
    return "; ".join(f"{ref} {problem}" for ref, problem in problems.items())
