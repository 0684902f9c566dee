"""
Canaries in every place a secret can stand; afterwards nothing the product wrote or said holds a piece of one.

Vendors in these tests are rude: they repeat our headers in errors, in pages, in JSON of the wrong shape
and in model answers, plainly, in base64, percent-encoded, and cut in two by our own limits.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from ai.double import Fault as ModelFault
from ai.double import ModelDouble
from connectors.double import serving
from connectors.double_faults import Fault
from connectors.github.double import GithubDouble
from connectors.zendesk.double import AGENT_EMAIL, ZendeskDouble
from console.app import open_hub
from console.cli import front, running, streams
from console.cli.exits import Exit
from console.testing import HubProcess, overlay
from ledger.contract import RunQuery
from penstock import HOUSE, http
from penstock.log import configure
from penstock.secrets import Secrets
from pipelines import load
from schemas.entries import Run
from tests.stores.every import Stores, stores

PIECE = 12  # characters of a secret that nobody may read
CANARIES = {
    "ZENDESK_TOKEN": "cnry_Qm7/xT2vKp+9LdWz4HsYb8RfJc3NgE",
    "ZENDESK_HOOK": "cnry_hV5tGw1uPq8ZkXr3MbDy7SnCf2LjAe",
    "ZENDESK_HOOK_OLD": "cnry_oB9eNs4KiUz6TyWl1VgQx8RcHm3JdFp",
    "GITHUB_TOKEN": "cnry_gT2yLp7VfXs9QnKc4WrZh6JmBd1EuAo",
    "GITHUB_HOOK": "cnry_wJ6rDk3YbTn8GxPf5HqLz1VsMc9UeIa",
    "MODEL_KEY": "cnry-mHxWqTzLbKpRvNcYdGsJfBtUaEoIiXk",
    "MODEL_KEY_OLD": "cnry-oLdXwPqZrTkVbNmHsGyJfCdUaEeIiOo",
    "VAULT_TOKEN": "cnry_vTk5QzWx9RmLp2JhGf7DsNb4VcYuEa",
    "AWS_SECRET_ACCESS_KEY": "cnry_aWs8KdPq3LmXn6ZbVr1TyHg5JcUoEi",
}
LOGINS = {name: CANARIES[name] for name in ("VAULT_TOKEN", "AWS_SECRET_ACCESS_KEY")}
"""What a hub proves itself with to the stores of its secrets."""
USED = ("ZENDESK_TOKEN", "GITHUB_TOKEN", "MODEL_KEY", "ZENDESK_HOOK", "GITHUB_HOOK")
"""What a running hub has in its hands."""
REACHED = {"delivered", "dead", "unchanged", "skipped"}


def pieces(secret: str) -> set[bytes]:
    """
    Return what must not be found: every stretch of *secret*, plain, in JSON, in a URL, in base64.
    """
    texts = {secret, secret.replace("/", "\\/"), quote(secret, safe=""), repr(secret)[1:-1]}
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + secret.encode()).decode()
        texts |= {whole[4:-4], whole[4:-4].replace("/", "\\/"), whole[4:-4].translate(str.maketrans("+/", "-_"))}
    skipped = len("cnry_")
    return {text[start : start + PIECE].encode() for text in texts for start in range(skipped, len(text) - PIECE + 1)}


def found_in(data: bytes) -> list[str]:
    """
    Return the names of the canaries of which a piece stands in *data*.
    """
    return [name for name, secret in CANARIES.items() if any(piece in data for piece in pieces(secret))]


def test_the_search_finds_what_it_is_for() -> None:
    """
    The search itself sees a canary in every spelling a leak would have.
    """
    secret = CANARIES["ZENDESK_TOKEN"]
    credential = base64.b64encode(f"{AGENT_EMAIL}/token:{secret}".encode())

    for leak in (
        secret.encode(),
        secret[9:24].encode(),
        credential,
        quote(secret).encode(),
        json.dumps(secret).encode(),
    ):
        assert ["ZENDESK_TOKEN"] == found_in(b"before " + leak + b" after")
    assert found_in(b"cnry_ cnry_ ***") == []


def echo(*names: str, after: int = 0) -> str:
    """
    Return what a rude vendor repeats of our requests, *after* so many characters of other words.
    """
    told = [
        form for name in names for form in (f"Bearer {CANARIES[name]}", CANARIES[name], quote(CANARIES[name], safe=""))
    ]
    if "ZENDESK_TOKEN" in names:
        basic = base64.b64encode(f"{AGENT_EMAIL}/token:{CANARIES['ZENDESK_TOKEN']}".encode()).decode()
        told += [f"authorization: Basic {basic}", f"x-raw={basic}", quote(f"Basic {basic}", safe="")]
    return "." * after + " Traceback (most recent call last): " + " | ".join(told)


# ---- a running hub --------------------------------------------------------------------------------


@dataclass
class Scene:
    """
    A hub in a process of its own, among rude doubles.
    """

    hub: HubProcess
    desk: ZendeskDouble
    github: GithubDouble
    model: ModelDouble
    env: dict[str, str]
    said: dict[str, bytes] = field(default_factory=dict)
    """What was printed, by command."""
    stores: Stores | None = None

    async def ticket(self, reached: Callable[[Run], bool]) -> Run:
        number = self.desk.opened(subject="Where is my parcel?", description="It has not come.", organization_id=501)
        return await self.until(str(number["id"]), reached)

    async def until(self, subject: str, reached: Callable[[Run], bool]) -> Run:
        """
        Wait until the newest run about *subject* is where it should be.
        """
        async with asyncio.timeout(40):
            while True:
                async with self.hub.ledger() as ledger:
                    runs = await ledger.runs(RunQuery(subject=subject, limit=10))
                for run in runs:
                    if reached(run):
                        return run
                await asyncio.sleep(0.05)

    async def command(self, *words: str) -> None:
        """
        Run one command beside the hub and keep what it printed.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "penstock", *words, cwd=self.hub.folder, env=self.env,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        printed, _ = await process.communicate()
        assert process.returncode in {Exit.OK, Exit.FINDINGS, Exit.UNREACHABLE}, printed.decode()
        self.said[" ".join(words)] = printed

    async def runs(self) -> list[Run]:
        async with self.hub.ledger() as ledger:
            return await ledger.runs(RunQuery(limit=100))


@pytest.fixture(params=["environment and files", "stores"])
async def scene(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    desk = ZendeskDouble(token=CANARIES["ZENDESK_TOKEN"])
    desk.organizations[501] = {"id": 501, "name": "Acme", "created_at": "2020-01-01T00:00:00Z", "tags": []}
    github = GithubDouble(token=CANARIES["GITHUB_TOKEN"])
    keys = {"new": CANARIES["MODEL_KEY"], "old": CANARIES["MODEL_KEY_OLD"]}
    async with contextlib.AsyncExitStack() as stack:
        model = await stack.enter_async_context(ModelDouble(keys=keys))
        desk_url, github_url = [await stack.enter_async_context(serving(double)) for double in (desk, github)]
        changes: dict[str, Any] = {
            "connections.helpdesk.url": desk_url,
            "connections.code.api_url": github_url,
            "models.small.url": model.openai_url,
            "models.small.price_as": "openai/gpt-5-mini",
        }
        kept = None
        if request.param == "stores":
            kept = await stack.enter_async_context(stores(tmp_path, LOGINS))
            refs, env = _in_stores(kept), kept.environment
        else:
            refs, env = _in_files(tmp_path)
        folder = overlay(HOUSE, tmp_path / "hub", changes | refs, pipelines=["ticket-summary", "issue-triage"])
        env |= {"PENSTOCK_LOG": "debug", "PYTHONASYNCIODEBUG": "1"}
        hub = HubProcess(folder, env=env)
        desk.hooks.subscribe(f"{hub.url}/in/helpdesk", CANARIES["ZENDESK_HOOK"])
        github.hooks.subscribe(f"{hub.url}/in/code", CANARIES["GITHUB_HOOK"])
        async with hub:
            beside = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE), **env}
            yield Scene(hub, desk, github, model, beside, stores=kept)


def _in_files(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    kept = folder / "secrets"
    kept.mkdir()
    (kept / "token").write_text(CANARIES["ZENDESK_TOKEN"] + "\n")
    (kept / "key").write_text(CANARIES["MODEL_KEY"])
    names = ("ZENDESK_HOOK", "GITHUB", "MODEL_KEY_OLD")
    return {
        "connections.helpdesk.api_token": f"${{file:{kept / 'token'}}}",
        "models.small.key": [f"${{file:{kept / 'key'}}}", "${env:MODEL_KEY_OLD}"],
    }, {name: CANARIES[name] for name in CANARIES if name.startswith(names)}


def _in_stores(kept: Stores) -> dict[str, Any]:
    def put(store: str, name: str) -> str:
        return kept.put(store, name.lower().replace("_", "-"), CANARIES[name])

    return {
        "connections.helpdesk.api_token": put("vault", "ZENDESK_TOKEN"),
        "connections.helpdesk.webhook_secret": [put("aws", "ZENDESK_HOOK"), put("vault", "ZENDESK_HOOK_OLD")],
        "connections.code.token": put("azure", "GITHUB_TOKEN"),
        "connections.code.webhook_secret": put("gcp", "GITHUB_HOOK"),
        "models.small.key": [put("gcp", "MODEL_KEY"), put("azure", "MODEL_KEY_OLD")],
    }


async def test_a_running_hub_among_rude_vendors_tells_no_secret(scene: Scene) -> None:
    """
    After echoes, refusals, forgeries and outages nothing of a secret is in a log, a database or an output.
    """
    await _rude_desk(scene)
    await _rude_model(scene)
    await _forgeries(scene)
    await _shut_doors(scene)
    await _commands(scene)
    if scene.stores is not None:
        scene.stores.fail(echo(*USED, *LOGINS))
        for form in ([], ["--json"]):
            await scene.command("doctor", *form)
        assert b"answered 500" in scene.said["doctor"], "the outage was met"
    assert await scene.hub.stop() == 0

    leaks = {name: found_in(printed) for name, printed in scene.said.items()}
    for file in scene.hub.folder.rglob("*"):
        if file.is_file():
            leaks[str(file.relative_to(scene.hub.folder))] = found_in(file.read_bytes())
    written = json.dumps([scene.desk.notes, [*scene.github.comments.values()]], default=str)
    leaks["what was written to the desk and to GitHub"] = found_in(written.encode())
    asked = json.dumps([call.begins for call in scene.model.calls])
    leaks["what the model was asked"] = found_in(asked.encode())

    assert {name: names for name, names in leaks.items() if names} == {}
    assert b"***" in b"".join(scene.said.values()), "the echoes came as far as they could"


def _final(run: Run) -> bool:
    return run.verdict in REACHED


def _waiting(run: Run) -> bool:
    return run.state == "waiting"


async def _rude_desk(scene: Scene) -> None:
    """
    The desk repeats our credential in a success of the right shape, of a wrong one, and in errors.
    """
    desk = echo("ZENDESK_TOKEN")
    for body in (
        {"organization": {"id": 501, "name": desk, "created_at": desk, "tags": [desk]}},
        {"organization": {"id": 501, "name": desk, "created_at": "2020-01-01", "tags": []}},
        {"organization": [desk]},
        desk,
    ):
        scene.desk.faults.add(Fault(kind="status", match="GET /api/v2/organizations", status=200, body=body))
        await scene.ticket(_final)
    for length in (0, 120, 150, 180):
        scene.desk.faults.add(
            Fault(kind="status", match="PUT /api/v2/tickets", status=422, body={"error": echo(*USED, after=length)})
        )
        assert (await scene.ticket(_final)).verdict == "dead"


async def _rude_model(scene: Scene) -> None:
    """
    The model repeats the key in errors, in prose, in a proper answer, and in the names it gives.
    """
    for length in (0, 250, 280):
        said = {
            "error": {
                "message": echo("MODEL_KEY", after=length),
                "type": "invalid_request_error",
                "code": echo("MODEL_KEY"),
            }
        }
        scene.model.faults.append(ModelFault(kind="status", status=400, body=said))
        assert (await scene.ticket(_final)).verdict == "dead"
    scene.model.answers.extend(
        [echo("MODEL_KEY", after=length) for length in (0, 40, 80)]
    )  # too long, then no JSON, then no JSON again
    assert (await scene.ticket(_final)).verdict == "dead"
    scene.model.answers.clear()
    answer = {
        "summary": f"The key is {CANARIES['MODEL_KEY']}, says the server.",
        "mood": "calm",
        "next_step": CANARIES["MODEL_KEY"],
        "language": "en",
        "confidence": 0.9,
    }
    scene.model.answers.append(json.dumps(answer))
    assert (await scene.ticket(_final)).verdict == "delivered"


async def _forgeries(scene: Scene) -> None:
    """
    Strangers send canaries where signatures belong.
    """
    async with httpx.AsyncClient(trust_env=False) as client:
        for name in ("helpdesk", "code"):
            for value in CANARIES.values():
                headers = {
                    "content-type": "application/json",
                    "authorization": f"Bearer {value}",
                    "x-zendesk-webhook-signature": value,
                    "x-zendesk-webhook-signature-timestamp": value,
                    "x-hub-signature-256": f"sha256={value}",
                }
                answer = await client.post(f"{scene.hub.url}/in/{name}", content=b"{}", headers=headers)
                assert answer.status_code == 401
                scene.said[f"POST /in/{name} {len(scene.said)}"] = answer.content


async def _shut_doors(scene: Scene) -> None:
    """
    The systems refuse our credentials, and repeat them.
    """
    refused = Fault(kind="status", match="GET /api/v2/tickets", status=401, body={"error": echo(*USED)})
    scene.desk.faults.add(refused)
    await scene.ticket(_waiting)
    for name in ("MODEL_KEY", "MODEL_KEY_OLD"):
        said = {"error": {"message": f"Incorrect API key provided: {CANARIES[name]}.", "type": echo(name), "code": "y"}}
        scene.model.faults.append(ModelFault(kind="status", status=401, body=said))
    issue = scene.github.opened(title="It crashes", body="On start.")
    await scene.until(f"acme/widgets/issues/{issue['number']}", _waiting)


async def _commands(scene: Scene) -> None:
    """
    Look at everything with every command, while vendors are still rude.
    """
    for run in (await scene.runs())[::4]:
        await scene.command("runs", "show", run.run)
        await scene.command("runs", "show", run.run, "--json")
        await scene.command("preview", run.pipeline, "--run", run.run, "--offline")
    for body in (echo(*USED), {"user": {"id": 7, "name": echo("ZENDESK_TOKEN")}}):
        for form in ([], ["--json"]):
            status = 200 if isinstance(body, dict) else 500
            scene.desk.faults.add(Fault(kind="status", match="GET /api/v2/users/me", status=status, body=body))
            scene.github.faults.add(
                Fault(kind="status", match="GET /user", status=401, body={"message": echo("GITHUB_TOKEN")})
            )
            await scene.command("doctor", *form)
    scene.desk.faults.add(
        Fault(kind="status", match="GET /api/v2/organizations", times=9, status=500, body=echo("ZENDESK_TOKEN"))
    )
    for form in ([], ["--json"]):
        await scene.command("preview", "ticket-summary", "--event", "ticket created", *form)
        await scene.command("runs", *form)
        await scene.command("check", *(["--format", "json"] if form else []))


# ---- what nobody foresaw --------------------------------------------------------------------------


class Broken:
    """
    A way out that fails with everything it was given in its words.
    """

    async def send(self, request: http.Request, **_: Any) -> Any:
        raise RuntimeError(f"cannot send {request.method} with {dict(request.headers)}")

    async def close(self) -> None:
        """
        Nothing is open.
        """


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, sys.unraisablehook)
    stream = io.StringIO()
    configure("debug", stream=stream, as_json=True)
    yield stream
    root.handlers[:], root.level, sys.excepthook, sys.unraisablehook = before
    logging.captureWarnings(capture=False)


async def test_an_unforeseen_error_with_headers_in_it_leaves_no_trace_of_them(
    tmp_path: Path, logged: io.StringIO
) -> None:
    """
    A bug that puts our headers into its words reaches log, ledger and reprs without them.
    """
    folder = overlay(HOUSE, tmp_path / "hub", {}, pipelines=["ticket-summary"])
    declaration = load(folder / "pipelines.yaml").declaration
    assert declaration is not None
    secrets = Secrets({**CANARIES, "OPENAI_API_KEY": CANARIES["MODEL_KEY"]})
    secrets.check(f"${{env:{name}}}" for name in CANARIES)
    async with open_hub(declaration, folder, http=Broken(), secrets=secrets) as hub:
        desk: Any = hub.connectors["helpdesk"]
        parts = [hub, secrets, declaration, hub.plans, hub.ai.spec("small"), desk, desk._settled, desk.edge]
        parts += [
            secrets.get("${env:MODEL_KEY}"),
            desk._settled._known,
            desk._settled._held,
            hub.engine,
            vars(hub.engine),
            vars(hub.ai),
        ]
        shown = " ".join(f"{part} {part!r}" for part in parts)
        with pytest.raises(RuntimeError):
            await hub.engine.start()
        logging.getLogger("x").error("ended", exc_info=RuntimeError(echo(*CANARIES)))
        await hub.engine.stop(0.1)

    stored = b"".join(file.read_bytes() for file in (folder / ".penstock").iterdir() if file.is_file())
    assert found_in(shown.encode()) == []
    assert found_in(logged.getvalue().encode()) == []
    assert found_in(stored) == []
    assert "RuntimeError" in logged.getvalue()


def test_the_file_of_a_crash_holds_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], logged: io.StringIO
) -> None:
    """
    What a crash leaves on stderr and in its file has passed the redactor.
    """
    streams.out.cache_clear()
    streams.talk.cache_clear()
    folder = overlay(HOUSE, tmp_path / "hub", {}, pipelines=["ticket-summary"])
    (folder / ".penstock").mkdir()
    for name, value in {**CANARIES, "OPENAI_API_KEY": CANARIES["MODEL_KEY"]}.items():
        monkeypatch.setenv(name, value)

    async def crash(_declaration: Any, _loaded: Any, secrets: Secrets, **_: Any) -> int:
        for name in CANARIES:
            secrets.get(f"${{env:{name}}}")
        raise RuntimeError(echo(*CANARIES)) from ValueError(CANARIES["MODEL_KEY"])

    monkeypatch.setattr(running, "_run", crash)
    monkeypatch.chdir(folder)
    assert front.run(["run"]) == Exit.UNFORESEEN
    monkeypatch.setenv("PENSTOCK_TRACEBACK", "1")
    assert front.run(["run"]) == Exit.UNFORESEEN

    files = list((folder / ".penstock").glob("penstock-error-*.log"))
    printed = "".join(capsys.readouterr())
    assert len(files) == 2
    assert "RuntimeError" in files[0].read_text()
    assert found_in(b"".join(file.read_bytes() for file in files)) == []
    assert found_in(printed.encode() + logged.getvalue().encode()) == []


# ---- secrets in clear -----------------------------------------------------------------------------

CLEAR = CANARIES["GITHUB_TOKEN"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("connections.helpdesk.api_token", CLEAR),
        ("connections.helpdesk.webhook_secret", [CLEAR, "${env:ZENDESK_HOOK}"]),
        ("connections.helpdesk.webhook_secret", {"new": CLEAR}),
        ("connections.helpdesk.api_tokn", CLEAR),
        ("connections.helpdesk.api_token", f"${{env:ZENDESK_TOKEN:-{CLEAR}}}"),
        ("connections.helpdesk.url", f"https://hub:{CLEAR}@acme.zendesk.com"),
        ("models.small.key", CLEAR),
        ("models.small.key", [CLEAR]),
        ("models.small.kye", CLEAR),
        ("models.small.url", f"https://hub:{CLEAR}@models.example/v1"),
        ("hub.ledger", f"postgresql://hub:{CLEAR}@db/penstock"),
        ("hub.bus", {"kafka": f"sasl://hub:{CLEAR}@kafka:9092"}),
    ],
)
def test_a_secret_in_clear_is_refused_and_never_repeated(
    path: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    `check` in every form, `run`, `doctor`, `test` and `preview` name the place of a secret in clear, not the secret.
    """
    folder = overlay(HOUSE, tmp_path / "hub", {path: value}, pipelines=["ticket-summary"])
    monkeypatch.chdir(folder)
    commands = [["check", "--format", form] for form in ("text", "json", "github", "sarif")]
    commands += [["run"], ["doctor", "--offline"], ["doctor", "--offline", "--json"], ["test"]]
    commands += [["preview", "ticket-summary", "--event", "ticket created", "--offline"]]

    for words in commands:
        streams.out.cache_clear()
        streams.talk.cache_clear()
        code = front.run(words)
        printed = "".join(capsys.readouterr())
        assert found_in(printed.encode()) == [], words
        assert code != Exit.UNFORESEEN, printed
        if words[0] in {"check", "run"}:
            assert code in {Exit.FINDINGS, Exit.INVALID}, words
