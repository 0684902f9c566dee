"""
The commands and their options. Each body imports what it needs, so that `--help` stays quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from console.cli import interventions, looking, spending
from console.cli.options import (
    PIPELINES,
    File,
    Json,
    Limit,
    OnlyPipeline,
    OnlySubject,
    OnlyVerdict,
    Processes,
    Since,
    State,
)

app = typer.Typer(
    name="penstock",
    help="Business events in, budgeted AI answers back, every event accounted for.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
runs_app = typer.Typer(help="List runs, newest first; show one.", rich_markup_mode=None)
app.add_typer(runs_app, name="runs")
bus_app = typer.Typer(help="Look after the topics of a hub on Kafka.", rich_markup_mode=None)
app.add_typer(bus_app, name="bus")


def _version(wanted: bool) -> None:
    if wanted:
        from penstock import __version__

        typer.echo(f"penstock {__version__}")
        raise typer.Exit


@app.callback()
def penstock(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    no_input: Annotated[bool, typer.Option("--no-input", help="Never ask a question.")] = False,
) -> None:
    """
    Business events in, budgeted AI answers back, every event accounted for.

    Start with: penstock demo, then penstock init my-hub.
    """
    del version
    if no_input:
        import os

        os.environ["PENSTOCK_NO_INPUT"] = "1"


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make the project in; must be empty or new.")],
    *,
    json: Json = False,
) -> int:
    """
    Make a project with a first pipeline.

    One pipeline, its templates, the schema of its answer, a test and a CI workflow.
    """
    from console.cli.starting import init as command

    return command(folder, as_json=json)


@app.command()
def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running, and its state on disk.")] = False,
    fast: Annotated[bool, typer.Option("--fast", help="No pauses for people who watch.")] = False,
    model: Annotated[
        Literal["offline", "openai", "anthropic"] | None,
        typer.Option("--model", help="Which model answers; offline needs no key and no network."),
    ] = None,
    state: Annotated[Path | None, typer.Option("--state", help="Folder for the bus and the ledger.")] = None,
    kafka: Annotated[
        str | None, typer.Option("--kafka", help="host:port of a Kafka for the events; make kafka starts one.")
    ] = None,
    json: Json = False,
    no_input: Annotated[bool, typer.Option("--no-input", help="Never ask a question.")] = False,
) -> int:
    """
    Show it at work: no account, no network.

    One process: a pretend help desk, real signed webhooks, a live view, notes back in the desk.
    """
    from console.cli.demonstrating import demo as command

    return command(keep=keep, fast=fast, model=model, state=state, kafka=kafka, as_json=json, no_input=no_input)


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="The declaration, or the folder it is in.")] = PIPELINES,
    *,
    form: Annotated[
        Literal["text", "json", "github", "sarif"], typer.Option("--format", help="How findings are printed.")
    ] = "text",
    strict: Annotated[bool, typer.Option("--strict", help="Notes count as findings.")] = False,
) -> int:
    """
    Say what is wrong, with line and column.

    Proves what can be proved before a run.
    """
    from console.cli.checking import check as command

    return command(path, form=form, strict=strict)


@app.command()
def preview(
    pipeline: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    *,
    event: Annotated[
        str | None, typer.Option("--event", help="Event file (JSON or YAML), - for stdin, or a sample.")
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", help="A run of the ledger; 6 digits of its id are enough.")
    ] = None,
    lookups: Annotated[Path | None, typer.Option("--lookups", help="YAML file that answers the lookups.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Fetch nothing; unanswered lookups are empty.")] = False,
    state: State = None,
    file: File = PIPELINES,
    json: Json = False,
) -> int:
    """
    Show the exact prompt for one event.

    With token bars per section. Asks no model and writes nothing.
    """
    from console.cli.previewing import preview as command

    return command(file, pipeline, event=event, run=run, lookups=lookups, offline=offline, state=state, as_json=json)


@app.command()
def test(
    paths: Annotated[list[Path] | None, typer.Argument(help="Test files or folders; default tests/.")] = None,
    *,
    match: Annotated[str | None, typer.Option("-k", help="Only cases whose name contains this.")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Also write a JUnit XML report.")] = None,
    file: File = PIPELINES,
    json: Json = False,
) -> int:
    """
    Run the cases of tests/*.test.yaml.

    On the real engine, without network.
    """
    from console.cli.testing import test as command

    return command(file, paths or [], match=match, junit=junit, as_json=json)


@app.command()
def run(
    *,
    once: Annotated[bool, typer.Option("--once", help="Work off what is there, then stop.")] = False,
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="HOST:PORT", help="Take deliveries here; default hub.listen.")
    ] = None,
    processes: Processes = None,
    file: File = PIPELINES,
) -> int:
    """
    Run the hub until SIGTERM or Ctrl-C.
    """
    from console.cli.running import run as command

    return command(file, once=once, listen=listen, processes=processes)


@runs_app.callback(invoke_without_command=True)
def runs(
    context: typer.Context,
    *,
    pipeline: OnlyPipeline = None,
    subject: OnlySubject = None,
    verdict: OnlyVerdict = None,
    since: Since = None,
    limit: Limit = 50,
    state: State = None,
    file: File = PIPELINES,
    json: Json = False,
) -> int | None:
    """
    List runs, newest first; `show` one.
    """
    if context.invoked_subcommand is not None:
        return None
    wanted = {"pipeline": pipeline, "subject": subject, "verdict": verdict, "since": since}
    return runs_list(**wanted, limit=limit, state=state, file=file, json=json)


@runs_app.command("list")
def runs_list(
    *,
    pipeline: OnlyPipeline = None,
    subject: OnlySubject = None,
    verdict: OnlyVerdict = None,
    since: Since = None,
    limit: Limit = 50,
    state: State = None,
    file: File = PIPELINES,
    json: Json = False,
) -> int:
    """
    List runs, newest first.
    """
    from console.cli.runs import Filter, list_runs

    wanted = Filter(pipeline=pipeline, subject=subject, verdict=verdict, since=since, limit=limit)
    return list_runs(file, wanted, state=state, as_json=json)


@runs_app.command("show")
def runs_show(
    run: Annotated[str, typer.Argument(help="The run's id; 6 digits are enough.")],
    *,
    state: State = None,
    file: File = PIPELINES,
    json: Json = False,
) -> int:
    """
    Show one run: event, receipt, prompt, answer, writes, cost.
    """
    from console.cli.runs import show_run as command

    return command(file, run, state=state, as_json=json)


@bus_app.callback()
def bus() -> None:
    """
    Look after the topics of a hub on Kafka.
    """


@bus_app.command("repartition")
def bus_repartition(*, file: File = PIPELINES) -> int:
    """
    Give every topic as many partitions as hub.bus.partitions says.

    Only when no worker runs and every pipeline has read its topic to the end: penstock run --once does that.
    """
    from console.cli.repartitioning import repartition as command

    return command(file)


@app.command()
def schema(
    what: Annotated[
        Literal["pipelines", "event", "answer"], typer.Argument(help="Which JSON Schema to print.")
    ] = "pipelines",
    name: Annotated[str | None, typer.Argument(help="For answer: the pipeline.")] = None,
    *,
    file: File = PIPELINES,
) -> int:
    """
    Print a JSON Schema.

    Of pipelines.yaml, of an event, or of a pipeline's answer.
    """
    from console.cli.schemas import schema as command

    return command(file, what, name)


@app.command()
def docs(
    *,
    asyncapi: Annotated[
        bool, typer.Option("--asyncapi", help="The topics and events on Kafka, as AsyncAPI 3.0.")
    ] = False,
    file: File = PIPELINES,
) -> int:
    """
    Print what other teams have to know.

    With --asyncapi: topics, messages and consumer groups of a hub on Kafka.
    """
    from console.cli.documenting import docs as command

    return command(file, asyncapi=asyncapi)


@app.command()
def doctor(
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Only look at this machine.")] = False,
    file: File = PIPELINES,
    json: Json = False,
) -> int:
    """
    Look at everything a hub needs.

    Machine, state folder, secrets, connections, models.
    """
    from console.cli.examining import doctor as command

    return command(file, offline=offline, as_json=json)


interventions.register(app, runs_app)
spending.register(app)
looking.register(app)
