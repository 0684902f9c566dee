"""
The outermost handler and the shape of the command line.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from console.cli import front
from console.cli.exits import Exit
from penstock.errors import AuthFailed, Invalid, NotFound, OverBudget, PenstockError, Unavailable, Unreachable

HEAVY = ("pydantic", "jinja2", "httpx", "aiohttp", "faststream", "tiktoken", "ruamel", "uvicorn", "genai_prices")
COMMANDS = ("init", "demo", "check", "preview", "test", "run", "runs", "bus", "schema", "doctor")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Invalid("wrong"), Exit.INVALID),
        (Unreachable("gone"), Exit.UNREACHABLE),
        (Unavailable("later"), Exit.UNREACHABLE),
        (AuthFailed("no"), Exit.UNREACHABLE),
        (OverBudget("dear"), Exit.BUDGET),
        (NotFound("nothing"), Exit.FINDINGS),
    ],
)
def test_each_error_has_its_exit_code(error: PenstockError, code: Exit) -> None:
    """
    An error a person must act on ends in the exit code of who must act.
    """
    assert code == front.exit_code(error)


def test_an_expected_error_is_one_line_and_the_next_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """
    A missing file ends with 3, a sentence that names it, and what to do next; nothing on stdout.
    """
    code = front.run(["check", str(tmp_path / "pipelines.yaml")])

    printed = capsys.readouterr()
    assert (3, "") == (code, printed.out)
    assert "there is no such file" in printed.err
    assert "penstock init my-hub" in printed.err
    assert "Traceback" not in printed.err


def test_an_unforeseen_error_says_where_its_log_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    An error nobody expected ends with 70; the traceback is in a file, not on the screen.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".penstock").mkdir()
    monkeypatch.setattr(front, "_dispatch", _broken)

    code = front.run(["runs"])

    printed = capsys.readouterr()
    (log,) = (tmp_path / ".penstock").glob("penstock-error-*.log")
    assert code == Exit.UNFORESEEN
    assert "Traceback" not in printed.err
    assert log.name in printed.err
    assert "ZeroDivisionError" in log.read_text()


def test_the_traceback_can_be_asked_for(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    PENSTOCK_TRACEBACK=1 shows the traceback of any error.
    """
    monkeypatch.setenv("PENSTOCK_TRACEBACK", "1")
    monkeypatch.setattr(front, "_dispatch", _broken)

    front.run(["runs"])

    assert "Traceback" in capsys.readouterr().err


def test_no_secret_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """
    A secret in an error's words is masked on the screen, in the traceback and in the log.
    """
    from penstock.secrets import Secrets

    (tmp_path / ".penstock").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PENSTOCK_TRACEBACK", "1")
    secret = Secrets({"CANARY": "canary-4be1f0a7"}).get("${env:CANARY}").reveal()

    def leaking(_argv: list[str]) -> int:
        raise RuntimeError(f"refused: {secret}")

    monkeypatch.setattr(front, "_dispatch", leaking)
    front.run(["runs"])

    (log,) = (tmp_path / ".penstock").glob("penstock-error-*.log")
    assert "canary" not in capsys.readouterr().err + log.read_text()


def _broken(argv: list[str]) -> int:
    return len(argv) // 0


@pytest.mark.parametrize("words", [["frobnicate"], ["runs", "--limit", "0"], ["check", "--format", "xml"], ["init"]])
def test_a_wrong_command_line_is_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """
    A command, option or value that does not exist ends with 2 and a pointer to the help.
    """
    assert front.run(words) == Exit.USAGE
    assert "next: penstock --help" in capsys.readouterr().err


def test_help_is_quick() -> None:
    """
    `--help` imports nothing heavy.
    """
    program = (
        "import sys; from console.cli.front import run; run(['--help'])\n"
        f"sys.stderr.write(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ended.stderr == ""


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The help lists all commands, also when the command line is empty.
    """
    assert front.run([]) == Exit.OK
    printed = capsys.readouterr().out

    assert all(f"  {command} " in printed for command in COMMANDS)
