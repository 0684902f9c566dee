"""
What a connector's tests say about it: how it is set up, what is in its system, and how deliveries are signed.

Everything has a default that serves a connector with a manifest and a double; others say it in their own way.
"""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

from connectors.bench import Bench
from connectors.contract import Connector, Delivery, Reply, Sample
from connectors.declared import DeclaredConnector
from connectors.testing_points import Need
from connectors.verification import Verify, sign
from penstock import errors
from penstock.clock import SystemClock
from schemas.events import Event

Fault = tuple[Mapping[str, Any], type[Exception]]
"""How the system fails, and what that is to us."""
READ_FAULTS: tuple[Fault, ...] = (
    ({"kind": "status", "status": 401}, errors.AuthFailed),
    ({"kind": "status", "status": 403}, errors.Rejected),
    ({"kind": "status", "status": 404}, errors.NotFound),
    ({"kind": "status", "status": 409}, errors.Conflict),
    ({"kind": "status", "status": 418}, errors.Rejected),
    ({"kind": "status", "status": 301}, errors.Rejected),
    ({"kind": "status", "status": 500}, errors.Unavailable),
    ({"kind": "status", "status": 503}, errors.Unavailable),
    ({"kind": "drop-before"}, errors.Unavailable),
    ({"kind": "drop-during"}, errors.Unavailable),
    ({"kind": "garbage"}, errors.Unavailable),
    ({"kind": "hang", "seconds": 2}, errors.Unavailable),
)
WRITE_FAULTS: tuple[Fault, ...] = (
    ({"kind": "status", "status": 401}, errors.AuthFailed),
    ({"kind": "status", "status": 404}, errors.NotFound),
    ({"kind": "status", "status": 409}, errors.Conflict),
    ({"kind": "status", "status": 422}, errors.Rejected),
    ({"kind": "status", "status": 500}, errors.UnknownOutcome),
    ({"kind": "status", "status": 503}, errors.UnknownOutcome),
    ({"kind": "status", "status": 503, "retry_after": "1"}, errors.Unavailable),
    ({"kind": "drop-before"}, errors.UnknownOutcome),
    ({"kind": "drop-during"}, errors.UnknownOutcome),
    ({"kind": "drop-after"}, errors.UnknownOutcome),
    ({"kind": "garbage"}, errors.UnknownOutcome),
    ({"kind": "hang", "seconds": 2}, errors.UnknownOutcome),
)


class Portrait(ABC):
    """
    What a connector's tests say about it.
    """

    name: ClassVar[str]
    environment: ClassVar[Mapping[str, str]]
    """Variables with the system's secrets; `HOOK` and `HOOK_OLD` sign deliveries."""
    ours: ClassVar[tuple[str, ...]] = ("double",)
    """The systems of this bench that we wrote ourselves."""
    credential: ClassVar[str]
    """The variable with the credential for requests."""
    lacks: ClassVar[Mapping[Need, str]] = {}
    """What it does not have, and why: it is exempt from the tests that need it."""
    action: ClassVar[str] = ""
    """An action that takes a text."""
    echoed: ClassVar[str] = ""
    """An action whose writes the system tells us of, where that with a text is told of as another record or not at all."""
    given: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """What each other action writes here, as `Action.write` takes it."""
    untold: ClassVar[Mapping[str, str]] = {}
    """Actions of which nobody can tell whether they took effect once an answer was lost, and why: not tried again."""
    patience: ClassVar[float] = 0.6
    """Seconds one try of a write may take where it is tried again and again."""
    lookup: ClassVar[str] = ""
    """A lookup of one record."""
    listing: ClassVar[str] = ""
    """A lookup of many records that belong to the same record."""
    nowhere: ClassVar[str] = "http://127.0.0.1:9"
    """The URL of a system that nobody can reach."""
    unknown: ClassVar[tuple[str, ...]] = (
        "999999999",
        "..",
        "../../x",
        "a/b/issues/999999",
        "",
        "a/../issues/1",
        "?x=1",
        "1#x",
        "a b/c",
    )
    """Ids that no record has."""
    recognises: ClassVar[bool] = True
    """Whether it can tell deliveries of its system from any other data that is signed well."""
    most_requests: ClassVar[int] = 1
    """Requests that one read may take."""
    ties: ClassVar[int] = 500
    """Records that change in one moment."""
    refusal: ClassVar[Mapping[str, Any]] = {"kind": "status", "status": 401}
    """How its system refuses a credential."""
    write_match: ClassVar[str] = "^(PUT|POST|PATCH|DELETE) "
    """Which requests have an effect, as `Fault.match`."""
    keeps_threads: ClassVar[str] = r"^asyncio_"
    """Pattern of threads that libraries keep for the life of the process."""
    read_faults: ClassVar[tuple[Fault, ...]] = READ_FAULTS
    write_faults: ClassVar[tuple[Fault, ...]] = WRITE_FAULTS
    benches: ClassVar[type[Bench]] = Bench

    # ---- what each connector says -------------------------------------------------------------

    @abstractmethod
    def settings(self, url: str) -> dict[str, Any]:
        """
        Return settings with references to *environment*, for the system at *url*.
        """

    @abstractmethod
    def pretend(self) -> contextlib.AbstractAsyncContextManager[tuple[Any, str]]:
        """
        Serve a fresh system; yields what can be asked about it (a double, mostly) and its base URL.
        """

    def variables(self, url: str, environment: Mapping[str, str]) -> Mapping[str, str]:
        """
        Return *environment* as settings refer to it: a secret may be more than the credential, such as an address with it.
        """
        del url
        return environment

    def record(self, double: Any, text: str) -> str:
        """
        Create a record whose main text is *text*; return its id as `event.subject` has it.
        """
        raise NotImplementedError

    def main_text(self, record: Mapping[str, Any]) -> str:
        """
        Return the main text of what `lookup` gives.
        """
        raise NotImplementedError

    def seen(self, text: str) -> str:
        """
        Return what a lookup gives of *text*: all of it, but for what a connector leaves out on purpose.
        """
        return text

    def written(self, double: Any, record: str) -> list[str]:
        """
        Return every text we left on *record*, oldest first.
        """
        raise NotImplementedError

    def comment_by_somebody(self, double: Any, record: str, text: str) -> None:
        """
        Let another person write *text* on *record*.
        """
        raise NotImplementedError

    def prepare(self, double: Any, action: str) -> str:
        """
        Create a record that *action* changes when it writes what it writes here; return its id.
        """
        del action
        return self.record(double, "text")

    def effects(self, double: Any, action: str, record: str) -> int:
        """
        Return how often what *action* writes here took effect on *record*.
        """
        if action == self.action:
            return len(self.written(double, record))
        raise NotImplementedError

    def change_again(self, double: Any, record: str) -> None:
        """
        Let somebody change *record* once more, in the second of its last change.
        """
        self.comment_by_somebody(double, record, "again")

    def foreign(self) -> Mapping[str, str]:
        """
        Return the systems of this bench that we did not write, each with its version.
        """
        return {}

    # ---- sources ------------------------------------------------------------------------------

    def changed(self, double: Any, source: str, count: int) -> list[str]:
        """
        Let *count* records change in one moment, so that *source* gives each; return their subjects.
        """
        raise NotImplementedError

    def late(self, double: Any, source: str) -> str:
        """
        Let a change appear that was made before the newest one, as a slow transaction does; return its subject.
        """
        raise NotImplementedError

    def expire(self, double: Any, source: str, cursor: bytes) -> bytes:
        """
        Let the system forget where *cursor* is; return the cursor to begin at.
        """
        raise NotImplementedError

    async def break_reading(self, bench: Bench) -> None:
        """
        Let the system fail once in the middle of the next reading.
        """
        await bench.fault(kind="status", status=503, skip=1)

    async def refuse(self, bench: Bench) -> None:
        """
        Let the system refuse our credential for good.
        """
        await bench.fault(**self.refusal, times=100)

    async def beyond_expiry(self, bench: Bench) -> list[Event]:
        """
        Let the time of a subscription pass, then let a record change; return the events of that.
        """
        raise NotImplementedError

    # ---- deliveries ---------------------------------------------------------------------------

    def rule(self, connector: Connector) -> Verify:
        """
        Return how deliveries are signed, for systems that sign with an HMAC.
        """
        assert isinstance(connector, DeclaredConnector)
        assert connector.manifest.verify is not None
        return connector.manifest.verify

    def sign_delivery(self, connector: Connector, delivery: Delivery, secret: str) -> Mapping[str, str]:
        """
        Return the headers by which *delivery* proves its sender at `received_ms`, with the secret itself.
        """
        return sign(self.rule(connector), delivery, secret)

    def forgeries(self, connector: Connector, good: Delivery) -> list[Delivery]:
        """
        Return deliveries made of *good* that must not be believed, beside those with a foreign secret.
        """
        rule = self.rule(connector)
        stripped = {name: text for name, text in good.headers.items() if name != rule.header}
        altered = {**good.headers, rule.header: good.headers[rule.header][:-2] + "xx"}
        bad = [
            (stripped, good.body),
            (altered, good.body),
            (good.headers, good.body + b" "),
            (good.headers, good.body.replace(b"a", b"b", 1)),
        ]
        bad += [({**good.headers, rule.header: text}, good.body) for text in ("", rule.prefix, "ü", "0" * 5000)]
        if rule.timestamp is not None:
            stamp = rule.timestamp.header
            bad += [({**good.headers, stamp: text}, good.body) for text in ("", "now", "2026-01-01T00:00:00Z")]
            past = rule.timestamp.tolerance + 1
            bad += [(self.delivery(connector, good.body, late=late).headers, good.body) for late in (past, -past)]
        return [
            Delivery(method="POST", url=good.url, headers=headers, body=body, received_ms=good.received_ms)
            for headers, body in bad
        ]

    def handshakes(self, connector: Connector) -> list[tuple[Delivery, Reply | None]]:
        """
        Return what its system asks before it delivers, and the answer it wants; None: any that says we took it.
        """
        raise NotImplementedError

    def unpacked(self, sample: Sample) -> Any:
        """
        Return the data in the body of *sample*.
        """
        return orjson.loads(sample.body)

    def packed(self, sample: Sample, data: Any) -> bytes:
        """
        Return a body like that of *sample* with other *data*.
        """
        del sample
        return json.dumps(data).encode()

    def delivery(
        self,
        connector: Any,
        body: bytes,
        secret: str = "HOOK",  # noqa: S107  # the name of a variable
        *,
        late: float = 0,
        headers: Mapping[str, str] | None = None,
    ) -> Delivery:
        """
        Return *body* as the system would deliver it, signed *late* seconds ago with the secret in that variable.
        """
        now = SystemClock().now_ms()
        plain = Delivery(
            method="POST",
            url="https://hub.example/in/x",
            headers={"content-type": "application/json", "x-unsigned": "1", **(headers or {})},
            body=body,
            received_ms=now - int(late * 1000),
        )
        signature = self.sign_delivery(connector, plain, self.environment[secret])
        return Delivery(
            method="POST", url=plain.url, headers={**plain.headers, **signature}, body=body, received_ms=now
        )

    def sampled(self, connector: Any, sample: Sample, body: bytes | None = None, **how: Any) -> Delivery:
        """
        Return *sample*, perhaps with another body, as the system would deliver it; further arguments as `delivery`.
        """
        return self.delivery(connector, sample.body if body is None else body, headers=sample.headers, **how)
