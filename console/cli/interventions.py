"""
The commands by which a person intervenes: replay, decide, pause, resume, retire.
"""

from __future__ import annotations

from typing import Annotated

import typer

from console.cli.options import PIPELINES, EvenIfNewer, File, Json, OnlyPipeline, OnlySubject, Since, State, Until, Yes

pipelines_app = typer.Typer(help="List pipelines; retire one that is gone.", rich_markup_mode=None)
Named = Annotated[str, typer.Argument(help="Name of the pipeline.")]
MOST = 1000  # runs of one replay, unless told otherwise


def register(app: typer.Typer, runs_app: typer.Typer) -> None:
    """
    Give the command line these commands.
    """
    app.command()(replay)
    app.command()(pause)
    app.command()(resume)
    app.add_typer(pipelines_app, name="pipelines")
    runs_app.command("decide")(decide)


def replay(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Run ids; 6 digits are enough. Default: all that match.")
    ] = None,
    *,
    pipeline: OnlyPipeline = None,
    subject: OnlySubject = None,
    verdict: Annotated[
        str, typer.Option("--verdict", help="Only this verdict; others than dead need --again.")
    ] = "dead",
    reason: Annotated[str | None, typer.Option("--reason", help="Only runs whose reason contains this.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most this many, oldest first.")] = MOST,
    again: Annotated[bool, typer.Option("--again", help="Ask, pay and write again, whatever was done.")] = False,
    even_if_newer: EvenIfNewer = False,
    yes: Yes = False,
    state: State = None,
    file: File = PIPELINES,
    json: Json = False,
) -> int:
    """
    Run dead letters again.

    Prints the plan; --yes carries it out. Paid answers are used, writes that were done are not repeated.
    """
    from console.cli.replaying import Choice
    from console.cli.replaying import replay as command

    choice = Choice(
        runs=tuple(runs or ()),
        pipeline=pipeline,
        subject=subject,
        verdict=verdict,
        reason=reason,
        since=since,
        until=until,
        limit=limit,
    )
    return command(file, choice, again=again, insist=even_if_newer, yes=yes, state=state, as_json=json)


def decide(
    run: Annotated[str, typer.Argument(help="The run's id; 6 digits are enough.")],
    *,
    delivered: Annotated[bool, typer.Option("--delivered", help="The write took effect: go on after it.")] = False,
    again: Annotated[bool, typer.Option("--again", help="It did not: write it again.")] = False,
    approve: Annotated[bool, typer.Option("--approve", help="The draft may be sent.")] = False,
    discard: Annotated[bool, typer.Option("--discard", help="None of these: the run ends as discarded.")] = False,
    text: Annotated[
        str | None,
        typer.Option("--text", metavar="FILE", help="With --approve: send this instead; - reads it from input."),
    ] = None,
    even_if_newer: EvenIfNewer = False,
    state: State = None,
    file: File = PIPELINES,
    json: Json = False,
) -> int:
    """
    Decide how a run goes on that stands aside.

    Either its write was sent and nobody could tell whether it took effect, or its draft waits for approval.
    """
    from console.cli.deciding import decide as command

    wanted = {"delivered": delivered, "again": again, "approved": approve, "discarded": discard}
    chosen = [name for name, given in wanted.items() if given]
    return command(file, run, chosen, insist=even_if_newer, state=state, as_json=json, text=text)


def pause(
    pipeline: Named,
    *,
    until: Annotated[
        str | None, typer.Option("--until", help="A date or time (UTC unless it says); then it goes on.")
    ] = None,
    span: Annotated[str | None, typer.Option("--for", help="A span, e.g. 90m or 2h; then it goes on.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for those who wonder.")] = None,
    state: State = None,
    file: File = PIPELINES,
) -> int:
    """
    Let nothing of a pipeline start.

    Events are taken and wait; what runs finishes. A running hub obeys within two seconds.
    """
    from console.cli.pausing import pause as command

    return command(file, pipeline, until=until, span=span, reason=reason, state=state)


def resume(pipeline: Named, *, state: State = None, file: File = PIPELINES) -> int:
    """
    Let a paused pipeline go on.

    What waited runs in its order, oldest first.
    """
    from console.cli.pausing import resume as command

    return command(file, pipeline, state=state)


@pipelines_app.callback(invoke_without_command=True)
def pipelines(context: typer.Context, *, state: State = None, file: File = PIPELINES, json: Json = False) -> int | None:
    """
    List pipelines with what their runs came to; `retire` one that is gone.
    """
    if context.invoked_subcommand is not None:
        return None
    from console.cli.pipelines import list_pipelines

    return list_pipelines(file, state=state, as_json=json)


@pipelines_app.command("retire")
def pipelines_retire(
    pipeline: Named, *, yes: Yes = False, state: State = None, file: File = PIPELINES, json: Json = False
) -> int:
    """
    Discard the runs of a pipeline that is not declared any more.

    Prints the plan; --yes gives what is not final the verdict discarded.
    """
    from console.cli.pipelines import retire

    return retire(file, pipeline, yes=yes, state=state, as_json=json)
