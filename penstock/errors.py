"""
Every error Penstock raises on purpose, told apart by who must act.

    PenstockError
    ├── Invalid              a person wrote something wrong: where, what, how to mend it (exit 3)
    ├── Unreachable          a server or file we need to start is not there (exit 4)
    ├── EdgeError            what a connector may raise; each is an instruction to the engine
    │   ├── Unavailable        later: the system is down or asks us to wait; not the event's fault
    │   │   └── Crowded          later: our own limit is used up, and the system was not asked at all
    │   ├── AuthFailed         the credential is refused: shut the connection's gate, tell a person
    │   ├── Rejected           never: the system understood and refused, or the delivery is forged
    │   │   └── Forged           a delivery that is not from whom it claims (HTTP 401)
    │   ├── NotFound           the record does not exist
    │   ├── Conflict           somebody changed the record at the same time: read again, then retry
    │   └── UnknownOutcome     the bytes of a write left, no answer came: look before writing again
    ├── Fenced               this worker lost its lane; whatever it still holds is void
    ├── OverBudget           the worst case of the next call does not fit under a cap
    └── Refused              a content policy (theirs or ours) said no; asking again is useless
"""

from __future__ import annotations


class PenstockError(Exception):
    """
    Something Penstock expected to be able to go wrong did.
    """

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or " ".join((type(self).__doc__ or "").split()))


class Invalid(PenstockError):
    """
    What a person wrote is wrong; the message says where and how to mend it.
    """

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.where = where
        """`file:line:column`, or an event id, or a command-line option; None where there is no place."""
        self.hint = hint
        """One sentence that says how to mend it."""
        text = f"{where}: {message}" if where else message
        super().__init__(f"{text} ({hint})" if hint else text)


class Unreachable(PenstockError):
    """
    Something needed to start cannot be reached.
    """


class EdgeError(PenstockError):
    """
    An outside system did not do what was asked.
    """


class Unavailable(EdgeError):
    """
    The system cannot be used now; try again later.
    """

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds the system asked us to wait; None when it did not say."""


class Crowded(Unavailable):
    """
    Our own limit for this system is used up: the system was not asked, and nothing is wrong with it.
    """


class AuthFailed(EdgeError):
    """
    The system refuses our credential.
    """


class Rejected(EdgeError):
    """
    The system refused the request for good; the same request will never be accepted.
    """


class Forged(Rejected):
    """
    The delivery's signature, timestamp or shape does not prove who sent it.
    """


class NotFound(EdgeError):
    """
    The record does not exist in the system.
    """


class Conflict(EdgeError):
    """
    The record changed while we worked on it.
    """


class UnknownOutcome(EdgeError):
    """
    A write was sent and no answer came back; it may or may not have taken effect.
    """


class Away(UnknownOutcome):
    """
    A write was answered that the system is away. A proxy says so, too, of what it had passed on.
    """


class Fenced(PenstockError):
    """
    Another worker owns this lane now; this one must drop what it holds.
    """


class OverBudget(PenstockError):
    """
    The worst case of the next call does not fit under a cap.
    """

    def __init__(self, message: str | None = None, *, scope: str = "", forever: bool = False) -> None:
        super().__init__(message)
        self.scope = scope
        """The cap that refused, e.g. `pipeline:ticket-summary/2026-11-24` or `per_event`."""
        self.forever = forever
        """True when the worst case is above the whole cap, so that no waiting can help."""


class Refused(PenstockError):
    """
    A content policy refused this input or this answer.
    """
