"""
The commands that say what was spent, and forget what would be saved.
"""

from __future__ import annotations

from typing import Annotated

import typer

from console.cli.options import PIPELINES, File, Json, OnlyPipeline, State

cost_app = typer.Typer(help="Say what model calls cost, and for whom.", rich_markup_mode=None)
cache_app = typer.Typer(help="Look after answers that are used again.", rich_markup_mode=None)
By = Annotated[
    str,
    typer.Option(
        "--by",
        metavar="WORDS",
        help="pipeline, tenant, user, model, day, or labels as feature, team, tier; several: a,b.",
    ),
]
Since = Annotated[str, typer.Option("--since", help="A span (2h, 7d) or a date (2026-11-24, in hub.timezone).")]
Until = Annotated[str | None, typer.Option("--until", help="The same; what came before it.")]
Propose = Annotated[bool, typer.Option("--propose", help="Propose where the threshold of each route should stand.")]
Disagreement = Annotated[
    str, typer.Option("--disagreement", metavar="SHARE", help="How many kept answers may disagree, for --propose.")
]
FailOver = Annotated[
    str | None, typer.Option("--fail-over", metavar="'N USD'", help="End with 5 when it was more than that.")
]


def register(app: typer.Typer) -> None:
    """
    Give the command line these commands.
    """
    app.add_typer(cost_app, name="cost")
    app.add_typer(cache_app, name="cache")


@cost_app.callback(invoke_without_command=True)
def cost(
    context: typer.Context,
    *,
    by: By = "pipeline",
    since: Since = "7d",
    until: Until = None,
    pipeline: OnlyPipeline = None,
    fail_over: FailOver = None,
    state: State = None,
    file: File = PIPELINES,
    json: Json = False,
) -> int | None:
    """
    Say what model calls cost, and for whom.

    From the calls the ledger still has, for as long as hub.keep says; money that was lost is counted in.
    """
    if context.invoked_subcommand is not None:
        return None
    from console.cli.costing import Asked
    from console.cli.costing import cost as command

    asked = Asked(by=by, since=since, until=until, pipeline=pipeline, fail_over=fail_over)
    return command(file, asked, state=state, as_json=json)


@cost_app.command("routing")
def cost_routing(
    *,
    since: Since = "7d",
    until: Until = None,
    pipeline: OnlyPipeline = None,
    propose: Propose = False,
    disagreement: Disagreement = "2%",
    state: State = None,
    file: File = PIPELINES,
    json: Json = False,
) -> int:
    """
    Say how far asks had to climb, why, and what routes saved.

    Against always asking the model that would have cost most, with the tokens of the answers. Where a route has a
    shadow, how often its first two models agree; with --propose, the threshold that keeps enough agreement.
    """
    from console.cli.routing import routing as command
    from console.cli.routing import target_of

    target = target_of(disagreement) if propose else None
    return command(file, since=since, until=until, pipeline=pipeline, target=target, state=state, as_json=json)


@cache_app.callback()
def cache() -> None:
    """
    Look after answers that are used again.
    """


@cache_app.command("clear")
def cache_clear(
    *, pipeline: OnlyPipeline = None, state: State = None, file: File = PIPELINES, json: Json = False
) -> int:
    """
    Let no answer so far be used again.

    Those of all pipelines, or of one; a running hub obeys at once. What runs have of their own stays.
    """
    from console.cli.caching import clear as command

    return command(file, pipeline=pipeline, state=state, as_json=json)
