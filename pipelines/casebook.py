"""
Test files: found, read, each case with its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from penstock.errors import Invalid
from pipelines.testing import Case, TestFile

FILE_MOST = 1024 * 1024  # bytes of one test file


def read_cases(path: Path) -> list[Case]:
    """
    Read one test file. Raises `Invalid` with `file:line:column`.
    """
    tree = _tree(path)
    try:
        words = TestFile.model_validate(_plain(tree))
    except ValidationError as error:
        raise _as_invalid(error, tree, path) from None
    return [
        Case(
            pipeline=words.pipeline,
            words=case,
            file=path,
            line=_line(tree["cases"], number),
            expect_line=_line(tree["cases"][number], "expect"),
        )
        for number, case in enumerate(words.cases)
    ]


def find_files(paths: Sequence[Path], root: Path) -> list[Path]:
    """
    Return the test files under *paths*, by default those of `tests/` below *root*.
    """
    found: list[Path] = []
    for path in paths or [root / "tests"]:
        if path.is_dir():
            found += sorted(path.rglob("*.test.yaml"))
        elif path.is_file():
            found.append(path)
        elif paths:
            raise Invalid(f"{str(path)!r} does not exist", where="penstock test", hint="name a file or a folder")
    return found


def _tree(path: Path) -> Any:
    yaml = YAML(typ="rt")
    try:
        text = path.read_text("utf-8")
        tree = yaml.load(text) if len(text) <= FILE_MOST else None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise Invalid(str(error.problem or "not YAML"), where=where) from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise Invalid(f"not YAML: {error}", where=str(path)) from None
    if not isinstance(tree, dict):
        raise Invalid("a test file is a mapping with `pipeline` and `cases`, below 1 MB", where=f"{path}:1:1")
    return tree


def _plain(value: Any) -> Any:
    """
    Return round-trip data as plain JSON data.
    """
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return str(value)


def _line(tree: Any, key: Any) -> int:
    """
    Return the 1-based line of *key* in a round-trip mapping or list.
    """
    try:
        place: tuple[int, int] = tree.lc.key(key) if isinstance(key, str) else tree.lc.item(key)
    except (AttributeError, KeyError, TypeError):
        return int(getattr(getattr(tree, "lc", None), "line", 0)) + 1
    return place[0] + 1


def _as_invalid(error: ValidationError, tree: Any, path: Path) -> Invalid:
    first = error.errors(include_url=False)[0]
    here: Any = tree
    line = 1
    steps: list[str] = []
    for step in first["loc"]:
        if _holds(here, step):
            line = _line(here, step)
            here = here[step]
            steps.append(str(step))
    name = str(first["loc"][-1]) if first["type"] in ("missing", "extra_forbidden") else ""
    message = f"{'.'.join(steps)}: {first['msg']}" if steps else first["msg"]
    return Invalid(f"{message}{f' {name!r}' if name else ''}", where=f"{path}:{line}")


def _holds(tree: Any, step: str | int) -> bool:
    return step in tree if isinstance(tree, dict) else isinstance(tree, list) and isinstance(step, int)
