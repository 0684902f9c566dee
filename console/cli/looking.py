"""
The command that says what a hub can be connected to.
"""

from __future__ import annotations

from typing import Annotated

import typer

from console.cli.options import PIPELINES, File, Json

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="One of them, in full.", show_default=False)]


def register(app: typer.Typer) -> None:
    """
    Give the command line this command.
    """
    app.command("connectors")(connectors)


def connectors(name: Name = None, *, file: File = PIPELINES, json: Json = False) -> int:
    """
    List connectors, built-in and your own; show one.

    With the tier its tests reached: bronze, silver or gold.
    """
    from console.cli.connecting import list_connectors, show_connector

    if name is None:
        return list_connectors(file, as_json=json)
    return show_connector(file, name, as_json=json)
