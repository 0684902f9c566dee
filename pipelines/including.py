"""
`include:` splits a large declaration: other files add connections, models, routes, budgets and pipelines.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.findings import Finding
from pipelines.places import Keys
from pipelines.reading import Read, read

KINDS = ("connections", "models", "routes", "budgets", "pipelines")
MOST = 200  # files


def include(main: Read, root: Path) -> None:
    """
    Add to *main* what the files its `include` names hold.
    """
    patterns = main.data.get("include")
    if not isinstance(patterns, list):
        return
    seen: set[Path] = {(root / main.places.start.file).resolve(), Path(main.places.start.file).resolve()}
    for number, pattern in enumerate(patterns):
        for path in _files(main, ("include", number), pattern, root):
            if path.resolve() not in seen and len(seen) < MOST:
                seen.add(path.resolve())
                _add(main, read(path))


def _files(main: Read, keys: Keys, pattern: Any, root: Path) -> Iterator[Path]:
    place = main.places.value(*keys)
    if not isinstance(pattern, str):
        return
    parts = PurePosixPath(pattern)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts or "**" in pattern:
        message, hint = f"{pattern!r} is not a path below this file's folder", "write for example pipelines/*.yaml"
        main.findings.append(Finding(place=place, message=message, hint=hint, rule="include/path"))
        return
    try:
        found = sorted(path for path in root.glob(pattern) if path.is_file())
    except (OSError, ValueError, NotImplementedError):
        found = []
    if not found:
        message = f"no file matches {pattern!r}"
        main.findings.append(Finding(place=place, message=message, rule="include/nothing"))
    yield from found


def _add(main: Read, more: Read) -> None:
    main.findings += more.findings
    main.reported |= more.reported
    for name, part in more.data.items():
        if name not in KINDS:
            message = f"an included file cannot have {name!r}"
            place, hint = more.places.key(name), f"it holds {', '.join(KINDS)}; everything else is in the main file"
            main.findings.append(Finding(place=place, message=message, hint=hint, rule="include/key"))
        elif isinstance(part, dict):
            _merge(main, more, name, part)
        elif (name,) not in more.reported:
            message = f"{name!r} is a mapping of names"
            main.findings.append(Finding(place=more.places.value(name), message=message, rule="include/key"))


def _merge(main: Read, more: Read, kind: str, part: dict[str, Any]) -> None:
    there = main.data.setdefault(kind, {})
    if not isinstance(there, dict):
        return
    for name, value in part.items():
        if name in there:
            first = main.places.key(kind, name)
            main.findings.append(
                Finding(
                    place=more.places.key(kind, name),
                    message=f"{name!r} is already one of the {kind}",
                    hint=f"the other one is at {first}",
                    rule="include/duplicate",
                )
            )
            continue
        there[name] = value
        main.places.take(more.places, (kind, name))
    main.places.take(more.places, (kind,))
