"""
How much of a model's quota a backlog uses, and how many calls are too many: `python -m benchmarks.quota [--json]`.

Every contender has an account of its own at one metering server, and all run at the same time, for real minutes:
two to start (what comes before the first answer knows no limit, and a meter that looks back remembers it for a
minute), one to measure, one in which some quotas are halved, and two to measure after that. It takes seven minutes, so it is not among `make bench`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.quota.meter import MINUTE
from penstock import HOUSE

REQUESTS, TOKENS = 600, 300_000  # a minute
PLENTY = 100_000_000
HALVED_AT = 3 * MINUTE + 20
MEASURED = {False: (2, 3, 4, 5), True: (2, 4, 5)}
"""Whole minutes, by whether the quota is halved in the third."""
BEGINS, ENDS = 2 * MINUTE, 6 * MINUTE
EVENTS = 5_000
USE_AIM, REFUSED_AIM = 0.95, 0.01
_STOP = 20.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """
    Who asks, and what its account may use.
    """

    name: str
    kind: str
    module: str = "hub"
    processes: int = 1
    tokens: bool = False
    """Whether tokens are what is short, not requests."""
    halved: bool = False

    @property
    def account(self) -> str:
        """
        Its API key.
        """
        return self.name.replace(" ", "-").replace(",", "")

    def quota(self, *, later: bool = False) -> tuple[int, int]:
        """
        Return requests and tokens a minute.
        """
        share = 2 if self.halved and later else 1
        return (PLENTY, TOKENS // share) if self.tokens else (REQUESTS // share, PLENTY)


CONTENDERS = (
    Contender(name="penstock, fixed", kind="fixed"),
    Contender(name="penstock, sliding, tokens", kind="sliding", tokens=True),
    Contender(name="penstock, 4 processes, fixed, halved", kind="fixed", processes=4, halved=True),
    Contender(name="penstock, 4 processes, sliding, halved", kind="sliding", processes=4, halved=True),
    Contender(name="back-off, fixed", kind="fixed", module="naive"),
    Contender(name="back-off, sliding", kind="sliding", module="naive"),
    Contender(name="litellm, sliding", kind="sliding", module="litellm_router"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """
    What the meter saw of one contender.
    """

    contender: str
    use: tuple[float, ...]
    """Of the quota, in each measured minute."""
    calls: int
    refused: int
    recovered: float | None
    """Seconds from when a halved quota had room again until calls went at its pace; None where nothing was halved."""

    @property
    def share_refused(self) -> float:
        """
        Calls answered 429, of all.
        """
        return self.refused / self.calls if self.calls else 0.0

    @property
    def met(self) -> bool:
        """
        Whether the aims are kept.
        """
        return min(self.use) >= USE_AIM and self.share_refused <= REFUSED_AIM and (self.recovered or 0.0) <= 10


@contextmanager
def running(*command: str, cwd: Path | None = None, log: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """
    Run a process as long as the block lasts.
    """
    environment = {**os.environ, "PYTHONPATH": str(HOUSE), "PYTHONDONTWRITEBYTECODE": "1"}
    with ExitStack() as stack:
        errors = stack.enter_context(log.open("w")) if log else None
        process = subprocess.Popen(
            command,
            cwd=cwd,
            stdout=subprocess.PIPE if log is None else errors,
            stderr=errors,
            text=True,
            env=environment,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def address(server: subprocess.Popen[str]) -> str:
    """
    Return where a server listens that prints its port.
    """
    assert server.stdout is not None
    return f"http://127.0.0.1:{int(server.stdout.readline())}"


def litellm(folder: Path) -> str | None:
    """
    Return the Python of an environment with LiteLLM; None where it cannot be installed.
    """
    try:
        venv.create(folder, with_pip=True)
        python = str(folder / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", "litellm"], check=True, capture_output=True, timeout=600)
        subprocess.run([python, "-c", "import litellm"], check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"LiteLLM cannot be installed: {error}", file=sys.stderr)
        return None
    return python


def command(contender: Contender, python: str, urls: tuple[str, str], folder: Path) -> list[str]:
    """
    Return what starts a contender.
    """
    model, desk = urls
    module = f"benchmarks.quota.{contender.module}"
    told = ["--model", model, "--events", str(EVENTS)]
    if contender.module == "hub":
        more = ["--desk", desk, "--processes", str(contender.processes)]
        return [python, "-m", module, str(folder), contender.account, *told, *more]
    if contender.module == "litellm_router":
        requests, tokens = contender.quota()
        file = str(Path(__file__).with_name("litellm_router.py"))
        return [python, file, contender.account, *told, "--requests", str(requests), "--tokens", str(tokens)]
    return [python, "-m", module, contender.account, *told]


def tell(url: str, contender: Contender, *, later: bool = False) -> float:
    """
    Give a contender its quota; return how long the meter has run.
    """
    requests, tokens = contender.quota(later=later)
    body = {"name": contender.account, "kind": contender.kind, "requests": requests, "tokens": tokens}
    request = urllib.request.Request(f"{url}/account", json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return float(json.load(answer)["now"])


def results(contenders: tuple[Contender, ...], log: Path) -> list[Result]:
    """
    Read the meter's log.
    """
    calls: dict[str, list[tuple[float, int, int]]] = {each.account: [] for each in contenders}
    for line in log.read_text().splitlines():
        name, at, status, tokens = line.split()
        calls[name].append((float(at), int(status), int(tokens)))
    return [_result(each, [call for call in calls[each.account] if BEGINS <= call[0] < ENDS]) for each in contenders]


def _result(contender: Contender, calls: list[tuple[float, int, int]]) -> Result:
    taken = [(at, tokens) for at, status, tokens in calls if status == 200]
    use = []
    for minute in MEASURED[contender.halved]:
        requests, tokens = contender.quota(later=minute > 3)
        inside = [need for at, need in taken if minute * MINUTE <= at < (minute + 1) * MINUTE]
        use.append(sum(inside) / tokens if contender.tokens else len(inside) / requests)
    recovered = _recovered(contender, [at for at, _ in taken]) if contender.halved else None
    refused = sum(status == 429 for _, status, _ in calls)
    return Result(contender=contender.name, use=tuple(use), calls=len(calls), refused=refused, recovered=recovered)


def _recovered(contender: Contender, taken: list[float]) -> float:
    """
    Return the seconds from when there was room again until ten seconds began that used the new quota.
    """
    requests, _ = contender.quota(later=True)
    room = 4 * MINUTE if contender.kind == "fixed" else _room_again(taken, requests)
    for second in range(60):
        since = room + second
        if sum(since <= at < since + 10 for at in taken) >= USE_AIM * requests / 6:
            return float(second)
    return 60.0


def _room_again(taken: list[float], requests: int) -> float:
    now = HALVED_AT
    while sum(now - MINUTE < at <= now for at in taken if at <= HALVED_AT) >= requests:
        now += 0.1
    return now


def main() -> int:
    """
    Run all of them at once; 1 when a hub missed an aim.
    """
    with tempfile.TemporaryDirectory(prefix="penstock-quota-") as name, ExitStack() as stack:
        folder = Path(name)
        other = litellm(folder / "litellm")
        contenders = tuple(each for each in CONTENDERS if other or each.module != "litellm_router")
        log = folder / "calls.log"
        meter = stack.enter_context(running(sys.executable, "-m", "benchmarks.quota.meter", "--log", str(log)))
        desk = stack.enter_context(
            running(
                sys.executable, "-m", "benchmarks.engine.doubles", "--seed", "3", "--calls", str(folder / "desk.log")
            )
        )
        urls = (address(meter), address(desk))
        began = time.monotonic() - max(tell(urls[0], each) for each in contenders)
        for each in contenders:
            python = other if each.module == "litellm_router" and other else sys.executable
            place = folder / each.account
            place.mkdir()
            words = command(each, python, urls, place)
            stack.enter_context(running(*words, log=folder / f"{each.account}.log"))
        time.sleep(max(0.0, began + HALVED_AT - time.monotonic()))
        for each in contenders:
            tell(urls[0], each, later=True)
        time.sleep(max(0.0, began + ENDS + 1 - time.monotonic()))
        tell(urls[0], contenders[0], later=True)
        found = results(contenders, log)
    return show(found)


def show(found: list[Result]) -> int:
    """
    Print what was found; 1 when a hub missed an aim.
    """
    if "--json" in sys.argv[1:]:
        print(json.dumps([asdict(each) | {"met": each.met} for each in found], indent=2))
    else:
        print(f"{'contender':<42}{'use of the quota by minute':<40}{'calls':>7}{'429':>8}  back after")
        for each in found:
            use = " ".join(f"{share:.3f}" for share in each.use)
            back = "" if each.recovered is None else f"{each.recovered:.0f} s"
            print(f"{each.contender:<42}{use:<40}{each.calls:>7}{each.share_refused:>8.2%}  {back}")
        print(f"aims for the hub: use at least {USE_AIM}, 429 at most {REFUSED_AIM:.0%}, back within 10 s")
    missed = [each.contender for each in found if each.contender.startswith("penstock") and not each.met]
    for contender in missed:
        print(f"missed: {contender}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
