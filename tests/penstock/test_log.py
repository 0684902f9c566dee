"""
Logs are one line per fact, for machines or people, and carry no secret whatever was logged.
"""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock.errors import Invalid
from penstock.log import configure
from penstock.redaction import Redactor

CANARY = "canary-7f3a9c/secret+value"

Logs = Callable[..., io.StringIO]


@pytest.fixture
def logs() -> Iterator[Logs]:
    """
    Configure logging into a buffer; everything is put back afterwards.
    """
    root = logging.getLogger()
    kept = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    levels = {name: logging.getLogger(name).level for name in ("aiohttp", "asyncio", "httpx", "uvicorn")}
    redactor = Redactor()
    redactor.add(CANARY)

    def start(*, as_json: bool = True, level: str = "info", process: int | None = None) -> io.StringIO:
        out = io.StringIO()
        configure(level, stream=out, as_json=as_json, redactor=redactor, process=process)
        return out

    yield start
    root.handlers[:], root.level, sys.excepthook, threading.excepthook = kept
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=False)


class Careless:
    def __repr__(self) -> str:
        return f"<Client token={CANARY}>"


class CarelessError(Exception):
    def __str__(self) -> str:
        return f"401 for {CANARY}"


def fail_deep(token: str) -> None:
    try:
        raise CarelessError(token)  # noqa: TRY301  # the chain is the point
    except CarelessError as error:
        error.add_note(f"while using {token}")
        raise RuntimeError(f"cannot use {token!r}") from error


def log_exception(log: logging.Logger) -> None:
    try:
        fail_deep(CANARY)
    except RuntimeError:
        log.exception("failed with %s", CANARY)


WAYS: dict[str, Callable[[logging.Logger], None]] = {
    "message": lambda log: log.info(f"using {CANARY}"),  # noqa: G004  # a mistake people make
    "argument": lambda log: log.info("using %s", CANARY),
    "mapping": lambda log: log.info("using %(token)s", {"token": CANARY}),
    "repr": lambda log: log.info("using %s", Careless()),
    "headers": lambda log: log.info("sent %r", {"X-Token": CANARY.encode()}),
    "extra": lambda log: log.info("using", extra={"penstock.token": CANARY}),
    "nested": lambda log: log.info("using", extra={"penstock.tokens": {"all": [CANARY, {CANARY: 1}, Careless()]}}),
    "wrong arguments": lambda log: log.info("using %d", CANARY),
    "too many arguments": lambda log: log.info("using", CANARY),  # noqa: PLE1205  # a mistake people make
    "error": lambda log: log.error("failed", exc_info=CarelessError(CANARY)),
    "chain": log_exception,
    "stack": lambda log: log.info(CANARY, stack_info=True),
    "query": lambda log: log.info("GET /x?k=%s", "canary-7f3a9c%2Fsecret%2Bvalue"),
    "warning": lambda _log: warnings.warn(f"old {CANARY}", UserWarning, stacklevel=1),
}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("as_json", [True, False], ids=["json", "lines"])
@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_logging_leaks(logs: Logs, way: str, as_json: bool) -> None:
    """A secret in a message, argument, field, error, traceback or warning comes out as `***`."""
    out = logs(as_json=as_json)

    WAYS[way](logging.getLogger("penstock.test"))

    text = out.getvalue()
    assert text
    if as_json or way not in ("extra", "nested"):  # lines for people leave fields out
        assert "***" in text
    assert "7f3a9c" not in text


def test_machines_get_one_json_object_per_line(logs: Logs) -> None:
    """Time in UTC, level, logger, message and the extra fields are keys of one object."""
    out = logs()

    logging.getLogger("engine").warning("gate %s\nshut", "x", extra={"penstock.gate": "x", "cost": 7})

    line = json.loads(out.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "engine",
        "message": "gate x\nshut",
        "penstock.gate": "x",
        "cost": 7,
    }
    assert out.getvalue().count("\n") == 1


def test_a_traceback_is_a_field(logs: Logs) -> None:
    """An error is told with its whole chain, inside the line."""
    out = logs()

    log_exception(logging.getLogger("engine"))

    line: dict[str, Any] = json.loads(out.getvalue())
    assert "CarelessError" in line["error"]
    assert "while using ***" in line["error"]
    assert "RuntimeError: cannot use '***'" in line["error"]


def test_an_extra_field_cannot_pose_as_the_message(logs: Logs) -> None:
    """A field named like one of ours does not replace it."""
    out = logs()

    logging.getLogger("engine").info("true", extra={"level": "debug", "time": "never"})

    assert ("info", "true") == (json.loads(out.getvalue())["level"], json.loads(out.getvalue())["message"])


def test_people_get_lines(logs: Logs) -> None:
    """On a terminal a record is one readable line."""
    out = logs(as_json=False)

    logging.getLogger("engine").info("ready")

    assert out.getvalue()[8:] == " info    engine: ready\n"


def test_each_of_several_processes_says_which_it_is(logs: Logs) -> None:
    """
    A process that is the only one says no number.
    """
    said = []
    for as_json, process in ((True, 2), (False, 2), (True, None)):
        out = logs(as_json=as_json, process=process)
        logging.getLogger("hub").info("started")
        said.append(out.getvalue())

    assert 2 == json.loads(said[0])["process"]
    assert "info    hub[2]: started" in said[1]
    assert "process" not in json.loads(said[2])


def test_the_level_can_be_chosen(logs: Logs) -> None:
    """Below the level nothing is written; libraries are quiet until debug is asked for."""
    out = logs(level="info")
    logging.getLogger("engine").debug("detail")
    logging.getLogger("aiohttp.access").info("GET /")
    assert out.getvalue() == ""

    out = logs(level="debug")
    logging.getLogger("engine").debug("detail")
    logging.getLogger("aiohttp.access").debug("GET /")

    assert out.getvalue().count("\n") == 2


def test_a_wrong_level_says_which_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing mistake in PENSTOCK_LOG is told with the remedy."""
    monkeypatch.setenv("PENSTOCK_LOG", "verbose")

    with pytest.raises(Invalid, match=r"PENSTOCK_LOG: 'verbose' is not a log level \(use one of debug"):
        configure()


CHILD = """
import sys, threading
from penstock.log import configure
from penstock.redaction import LIVE

LIVE.add(CANARY := sys.argv[1])
configure(as_json=True)

def boom():
    raise RuntimeError("no " + CANARY)

thread = threading.Thread(target=boom)
thread.start()
thread.join()
boom()
"""


def test_what_ends_a_process_or_thread_does_not_leak() -> None:
    """An uncaught error is a log line too, without the secret."""
    ended = subprocess.run([sys.executable, "-c", CHILD, CANARY], capture_output=True, text=True, check=False)

    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line["message"] for line in lines] == ["a thread ended unforeseen", "the process ended unforeseen"]
    assert all("RuntimeError: no ***" in line["error"] for line in lines)
    assert (1, False) == (ended.returncode, "7f3a9c" in ended.stderr)
