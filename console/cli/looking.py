"""
The command that says what a hub can be connected to.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from console.cli.options import PIPELINES, File, Json

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="One of them, in full.", show_default=False)]

Test = Annotated[
    bool, typer.Option("--test", help="Run the contract suite in its folder, and write its quality block there.")
]
Least = Annotated[
    Literal["bronze", "silver", "gold"] | None,
    typer.Option("--least", metavar="TIER", help="With --test: end with 1 below this tier.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """
    Give the command line this command.
    """
    app.command("connectors")(connectors)


def connectors(
    name: Name = None, *, test: Test = False, least: Least = None, file: File = PIPELINES, json: Json = False
) -> int:
    """
    List connectors, built-in and your own; show one, test one.

    With the tier its tests reached: bronze, silver or gold.
    """
    from console.cli.connecting import list_connectors, show_connector, show_tested

    if (test or least) and name is None:
        raise typer.BadParameter("--test is about one connector: give its NAME")
    if name is None:
        return list_connectors(file, as_json=json)
    if test or least:
        return show_tested(file, name, least, as_json=json)
    return show_connector(file, name, as_json=json)
