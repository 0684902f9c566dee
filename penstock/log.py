"""
Logging: JSON lines, or lines for people on a terminal, with every secret taken out.

    configure()
    log.warning("gate %s shut", name, extra={"penstock.gate": name})
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from datetime import UTC, datetime
from functools import lru_cache
from types import TracebackType
from typing import Any, TextIO

import orjson

from penstock.errors import Invalid
from penstock.redaction import LIVE, Redactor

LEVELS = ("debug", "info", "warning", "error")
_INDISCREET = ("botocore", "urllib3")  # at `debug` they log whole answers, before we know what is secret in them
_CHATTY = ("aiohttp", "asyncio", "httpx", "uvicorn")  # their news is no news of ours
_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)
_PLAIN = frozenset({int, float, bool, type(None)})
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """
    One JSON object per line: time, level, logger, message, which process, the extra fields, and the error.
    """

    def __init__(self, redactor: Redactor = LIVE, process: int | None = None) -> None:
        super().__init__()
        self._redactor = redactor
        self._which = {} if process is None else {"process": process}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": f"{_second(int(record.created))}.{int(record.created % 1 * 1000):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redactor.hide(_message(record)),
            **self._which,
        }
        hide = self._redactor.hide
        for name, value in vars(record).items():
            if name in _STANDARD or name in line:
                continue
            kind = type(value)
            line[name] = hide(value) if kind is str else value if kind in _PLAIN else _hidden(value, self._redactor)
        if error := _error(self, record):
            line["error"] = self._redactor.hide(error)
        return _encoded(line)


class Lines(logging.Formatter):
    """
    One line for people: local time, level, logger, message; the error on the lines below.
    """

    def __init__(self, redactor: Redactor = LIVE, process: int | None = None) -> None:
        super().__init__()
        self._redactor = redactor
        self._which = "" if process is None else f"[{process}]"

    def format(self, record: logging.LogRecord) -> str:
        time = _time(record).astimezone().strftime("%H:%M:%S")
        text = f"{time} {record.levelname.lower():<7} {record.name}{self._which}: {_message(record)}"
        error = _error(self, record)
        return self._redactor.hide(f"{text}\n{error}" if error else text)


def configure(
    level: str | None = None,
    *,
    stream: TextIO | None = None,
    as_json: bool | None = None,
    redactor: Redactor = LIVE,
    process: int | None = None,
) -> logging.Handler:
    """
    Log to *stream* (stderr): JSON lines, or lines for people when it is a terminal; return the handler.

    *level* is by default that of `PENSTOCK_LOG`, else `info`. Warnings and what ends a thread are logged too.
    Of several processes that log to the same place, each says its number, *process*.
    """
    chosen = (level or os.environ.get("PENSTOCK_LOG") or "info").lower()
    if chosen not in LEVELS:
        raise Invalid(f"{chosen!r} is not a log level", where="PENSTOCK_LOG", hint=f"use one of {', '.join(LEVELS)}")
    out = sys.stderr if stream is None else stream
    people = not as_json if as_json is not None else out.isatty()
    handler = logging.StreamHandler(out)
    handler.setFormatter(Lines(redactor, process) if people else JsonLines(redactor, process))
    # What our lines never say need not be found out; `logging`'s own documentation names these switches.
    logging._srcfile = None  # noqa: SLF001  # as its documentation says
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(chosen.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.DEBUG if chosen == "debug" else logging.WARNING)
    for name in _INDISCREET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _ended_thread
    sys.unraisablehook = _unraised
    return handler


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("penstock").critical("the process ended unforeseen", exc_info=(kind, error, trace))


def _ended_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        told = (args.exc_type, args.exc_value, args.exc_traceback)
        logging.getLogger("penstock").error("a thread ended unforeseen", exc_info=told)


def _unraised(told: sys.UnraisableHookArgs) -> None:
    if told.exc_value is not None:
        error = (told.exc_type, told.exc_value, told.exc_traceback)
        logging.getLogger("penstock").error("%s", told.err_msg or "an error nobody could take", exc_info=error)


def _encoded(line: dict[str, Any]) -> str:
    try:
        return orjson.dumps(line, default=str).decode()
    except orjson.JSONEncodeError:  # a lone surrogate, a number beyond 64 bits
        return _ENCODER.encode(line)


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


@lru_cache(maxsize=4)
def _second(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _message(record: logging.LogRecord) -> str:
    """
    Return the message; a call with wrong arguments is still told, as logging must not fail the work.
    """
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg!s} {record.args!r}"


def _hidden(value: Any, redactor: Redactor) -> Any:
    """
    Return *value* as JSON data without secrets, keys included.
    """
    match value:
        case str():  # most of them
            return redactor.hide(value)
        case None | bool() | int() | float():
            return value
        case dict():
            return {redactor.hide(str(key)): _hidden(item, redactor) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_hidden(item, redactor) for item in value]
        case _:
            return redactor.hide(str(value))


def _error(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    elif record.exc_text:
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)
