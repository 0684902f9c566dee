"""
`penstock init`: a project that passes `check` and `test` from its first minute.
"""

from __future__ import annotations

from pathlib import Path

from console.cli.streams import emit, say
from penstock.errors import Invalid

HOUSE = Path(__file__).parents[2]
"""The folder of the rooms: the checkout, or the rooms of an installed wheel."""
STARTER = Path(__file__).parent / "starter"

_SHARED = (
    "templates/ticket-summary.j2",
    "templates/ticket-note.j2",
    "schemas/ticket-summary.json",
    "schemas/pipelines.schema.json",
)
"""Taken from the worked examples, so that a new project starts from what is tested here."""
_OWN = {
    "pipelines.yaml": "pipelines.yaml",
    "ticket-summary.test.yaml": "tests/ticket-summary.test.yaml",
    "ticket-4711.json": "tests/ticket-4711.json",
    "lookups.yaml": "tests/lookups.yaml",
    "workflow.yaml": ".github/workflows/penstock.yaml",
}
_IGNORED = ".penstock/\n.env\n"


def init(folder: Path, *, as_json: bool) -> int:
    """
    Make a project in *folder*, which must be new or empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Invalid("is not an empty folder", where=str(folder), hint="name a new one: penstock init my-hub")
    files = starter_files()
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    if as_json:
        emit("init", folder=str(folder), files=sorted(files))
        return 0
    for name in sorted(files):
        say(f"  {folder / name}")
    go = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    say(f"\nA first pipeline is ready.\nnext: {go}penstock check && penstock test")
    return 0


def starter_files() -> dict[str, str]:
    """
    Return every file of a new project, by its name.
    """
    files = {name: (HOUSE / name).read_text("utf-8") for name in _SHARED}
    files |= {target: (STARTER / source).read_text("utf-8") for source, target in _OWN.items()}
    return files | {".gitignore": _IGNORED}
