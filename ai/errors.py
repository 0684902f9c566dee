"""
Why a model gave no usable answer, and what that asks of the engine.

The class says what happened; its row in `CLASSES` says whether the call may have been billed and
what to do about the event:

- `gate`     shut `model:<name>` and wait there: not the event's fault, not an attempt of it
- `retry`    try the event again later; counts as an attempt
- `refused`  a content policy said no: asking again is useless
- `dead`     this event cannot be answered as the pipeline stands; a person decides
"""

from __future__ import annotations

from typing import Literal, get_args

from penstock.errors import PenstockError

ErrorClass = Literal[
    "timeout",  # the deadline passed before the answer was complete
    "connection",  # no connection, or it broke
    "rate_limited",  # asked to slow down
    "quota",  # the account has no money or allowance left
    "overloaded",  # the provider has no capacity now
    "server",  # the provider failed
    "auth",  # the key is refused
    "context_too_long",  # the prompt does not fit the model's window
    "too_large",  # the request has too many bytes
    "content_policy",  # the provider or the model refused the content
    "truncated",  # the answer did not fit its room, twice
    "invalid_output",  # the answer does not fit its schema, twice
    "unsupported",  # the answer says things its context does not, twice
    "malformed_response",  # a success that is not what the provider's API promises
    "not_found",  # there is no such model or address
    "bad_request",  # the provider refuses the request as such
]
Billed = Literal["no", "maybe", "yes"]
Advice = Literal["gate", "retry", "refused", "dead"]

CLASSES: dict[ErrorClass, tuple[Billed, Advice]] = {
    "timeout": ("maybe", "retry"),
    "connection": ("no", "gate"),
    "rate_limited": ("no", "gate"),
    "quota": ("no", "gate"),
    "overloaded": ("no", "gate"),
    "server": ("no", "retry"),
    "auth": ("no", "gate"),
    "context_too_long": ("no", "dead"),
    "too_large": ("no", "dead"),
    "content_policy": ("no", "refused"),
    "truncated": ("yes", "dead"),
    "invalid_output": ("yes", "dead"),
    "unsupported": ("yes", "dead"),
    "malformed_response": ("maybe", "retry"),
    "not_found": ("no", "gate"),
    "bad_request": ("no", "dead"),
}
"""What a class means unless the raiser knows better."""

FAILING: frozenset[ErrorClass] = frozenset({"timeout", "server", "malformed_response"})
"""Classes that one event may cause, and an outage too: several in a row are an outage."""

assert set(CLASSES) == set(get_args(ErrorClass)), "every class has its row"


class AIError(PenstockError):
    """
    A model gave no usable answer.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        error_class: ErrorClass,
        model: str = "",
        retry_after: float | None = None,
        billed: Billed | None = None,
        advice: Advice | None = None,
    ) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.model = model
        """The name in `models`."""
        self.retry_after = retry_after
        """Seconds the provider asked us to wait; None when it did not say."""
        self.billed: Billed = billed or CLASSES[error_class][0]
        """Whether the provider may charge for the call; `maybe` is booked in full."""
        self.advice: Advice = advice or CLASSES[error_class][1]
