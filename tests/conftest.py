"""
What every test stands on: a clean environment, and no silent skip where none is allowed.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from bus.broker import Broker
from console.testing_door import door  # noqa: F401  # a fixture
from ledger.testing_server import ELSEWHERE, LocalServer
from penstock.errors import Unreachable

NO_SKIP = "PENSTOCK_NO_SKIP"
CASES = 100  # random cases of one property, unless PENSTOCK_CASES or the test says otherwise

_OURS_TO_KEEP = {
    NO_SKIP,
    "PENSTOCK_CASES",
    "PENSTOCK_CHURN",
    "PENSTOCK_CROSSED",
    "PENSTOCK_FUZZ",
    "PENSTOCK_GITHUB_PAYLOADS",
    "PENSTOCK_SEED",
    "PENSTOCK_SEEDS",
    "PENSTOCK_TEST_KAFKA",
    ELSEWHERE,
}
_FOREIGN = (
    "ANTHROPIC_",
    "AWS_",
    "AZURE_",
    "BAO_",
    "GITHUB_",
    "GOOGLE_",
    "OPENAI_",
    "OTEL_",
    "PENSTOCK_",
    "SLACK_",
    "VAULT_",
    "ZENDESK_",
)
_PROXIES = {"ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"}
_LOOKS = {"CI", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR"}  # what would change how we talk

settings.register_profile(
    "penstock",
    max_examples=int(os.environ.get("PENSTOCK_CASES") or CASES),
    deadline=None,  # a shared machine is slow at times
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("penstock")


def _unwanted(name: str) -> bool:
    upper = name.upper()
    return (upper.startswith(_FOREIGN) and name not in _OURS_TO_KEEP) or upper in _PROXIES | _LOOKS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Begin with the crash scenes: they mostly wait, and others can run beside them.
    """
    items.sort(key=lambda item: "/crash/" not in str(item.path))


def pytest_configure() -> None:
    """
    Take keys and proxies out of the environment before a test module can read them.
    """
    for name in [name for name in os.environ if _unwanted(name)]:
        del os.environ[name]


@pytest.fixture(autouse=True)
def dice(request: pytest.FixtureRequest) -> None:
    """
    Throw the same dice in every run of a test: a back-off with jitter is no matter of luck.
    """
    random.seed(request.node.nodeid)


@pytest.fixture(autouse=True)
def _environment_as_found() -> Iterator[None]:
    """
    Put the environment back, so that no test leans on another.
    """
    found = dict(os.environ)
    yield
    changed = {name for name in os.environ.keys() | found.keys() if os.environ.get(name) != found.get(name)}
    for name in changed - {"PYTEST_CURRENT_TEST"}:
        os.environ.pop(name, None)
        if name in found:
            os.environ[name] = found[name]


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """
    A Kafka broker of this test process.
    """
    broker = Broker(tmp_path_factory.mktemp("kafka"))
    try:
        broker.start()
    except Unreachable as error:
        pytest.skip(str(error))
    yield broker
    broker.stop(signal.SIGKILL)  # its data are not needed any more


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> str:
    """
    Where a Kafka answers: the one of PENSTOCK_TEST_KAFKA, else one of this test process.
    """
    theirs = os.environ.get("PENSTOCK_TEST_KAFKA")
    return theirs or str(request.getfixturevalue("broker").address)


@pytest.fixture(autouse=True)
def _secrets_as_found() -> Iterator[None]:
    """
    Forget the secrets a test resolved: the process's redactor would hide them, and words like them, in the next.
    """
    from penstock.redaction import LIVE

    forms, passing, pattern = set(LIVE._forms), dict(LIVE._passing), LIVE._pattern
    yield
    LIVE._forms, LIVE._passing, LIVE._pattern, LIVE._hidden = forms, passing, pattern, {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """
    Turn a skipped test into a failed one where PENSTOCK_NO_SKIP is set.
    """
    report = yield
    if report.skipped and os.environ.get(NO_SKIP) and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = _forbidden(item.nodeid, report.longrepr)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """
    Do the same for a module that skips itself as a whole.
    """
    report = yield
    if report.outcome == "skipped" and os.environ.get(NO_SKIP):
        report.outcome = "failed"
        report.longrepr = _forbidden(collector.nodeid, report.longrepr)
    return report


def _forbidden(what: str, skipped: object) -> str:
    reason = skipped[2] if isinstance(skipped, tuple) else skipped
    return f"{what} was skipped, and {NO_SKIP} allows no skip: {reason}"


@pytest.fixture(scope="session")
def server() -> Iterator[LocalServer]:
    """
    A PostgreSQL server that may be stopped.
    """
    try:
        ours = LocalServer()
    except Unreachable as error:
        pytest.skip(str(error))
    try:
        ours.start()
        yield ours
    finally:
        ours.remove()


@pytest.fixture
def dsn(request: pytest.FixtureRequest) -> Iterator[str]:
    """
    The address of an empty schema on a server.
    """
    import psycopg

    base = os.environ.get(ELSEWHERE) or request.getfixturevalue("server").dsn
    name = f"t_{secrets.token_hex(6)}"
    with psycopg.connect(base, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    yield f"{base}{'&' if '?' in base else '?'}options=-csearch_path%3D{name}"
    with psycopg.connect(base, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {name} CASCADE")
