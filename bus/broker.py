"""
A real Kafka on this machine: one node, fetched once through Maven, for tests and for trying things out.

    python -m bus.broker        start one on 127.0.0.1:9092 and stop it with Ctrl-C
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bus import broker_credentials as credentials
from bus.broker_credentials import run
from penstock.errors import Unreachable

VERSION = "4.1.1"
START_WITHIN = 60.0  # seconds
FETCH_WITHIN = 300.0  # seconds
STOP_WITHIN = 15.0  # seconds
USER, PASSWORD = "penstock", "a password for tests"

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>penstock</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{version}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""
_SETTINGS = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},SSL://127.0.0.1:{tls},MUTUAL://127.0.0.1:{mutual},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,MUTUAL:SSL,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
listener.name.sasl_plaintext.oauthbearer.sasl.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler
sasl.oauthbearer.jwks.endpoint.url=file://{folder}/jwks.json
sasl.oauthbearer.expected.audience={audience}
sasl.oauthbearer.jwt.validator.class=org.apache.kafka.common.security.oauthbearer.BrokerJwtValidator
listener.name.mutual.ssl.client.auth=required
listener.name.mutual.ssl.truststore.location={folder}/client.pem
listener.name.mutual.ssl.truststore.type=PEM
ssl.keystore.location={folder}/broker.p12
ssl.keystore.type=PKCS12
ssl.keystore.password=changeit
"""
_STARTED = b"Kafka Server started"
_JAVA = ("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class Broker:
    """
    One Kafka node whose data live in *folder*; it can be stopped and started again.
    """

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self._folder = folder
        ports = _free_ports(5)
        self._plain = port or ports[0]
        self._sasl, self._tls, self._mutual, self._controller = ports[1:]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """
        Where it is spoken to in the clear.
        """
        return f"127.0.0.1:{self._plain}"

    @property
    def sasl_address(self) -> str:
        """
        Where a name and a password are asked for.
        """
        return f"127.0.0.1:{self._sasl}"

    @property
    def tls_address(self) -> str:
        """
        Where it is spoken to with TLS.
        """
        return f"127.0.0.1:{self._tls}"

    @property
    def mutual_address(self) -> str:
        """
        Where it is spoken to with TLS by those it knows by their certificate.
        """
        return f"127.0.0.1:{self._mutual}"

    @property
    def client(self) -> tuple[Path, Path]:
        """
        The certificate it knows, and its key.
        """
        return self._folder / "client.pem", self._folder / "client.key"

    def token(self, *, life: int = credentials.TOKEN_LIFE) -> str:
        """
        Return a token it takes for *life* seconds.
        """
        return credentials.sign(self._folder / "issuer.key", life=life)

    @property
    def certificate(self) -> Path:
        """
        Who signed its TLS certificate: itself.
        """
        return self._folder / "broker.pem"

    def start(self) -> None:
        """
        Start it and wait until it answers; raises `Unreachable`.
        """
        jars = fetch()
        if not (self._folder / "data").exists():
            self._format(jars)
        with self._log.open("ab") as log:
            begun = log.tell()
            self._process = subprocess.Popen(  # noqa: S603  the words are ours
                [*_bound(), *_java(jars, "kafka.Kafka", self._settings, trusting=self._folder)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + START_WITHIN
        while _STARTED not in self._log.read_bytes()[begun:]:  # its ports answer before it knows itself
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                tail = self._log.read_text(errors="replace").splitlines()[-3:]
                raise Unreachable("Kafka did not start: " + " | ".join(tail))
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """
        Stop it, and wait until it is gone.
        """
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def wait(self) -> None:
        """
        Return when it has ended by itself.
        """
        if self._process is not None:
            self._process.wait()

    def tool(self, name: str, *words: str, timeout: float = 60.0) -> str:
        """
        Run one of Kafka's own command-line tools, by its Java class, and return what it printed.
        """
        command = _java(fetch(), name, *words)
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=True).stdout  # noqa: S603  the words are ours

    @property
    def _log(self) -> Path:
        return self._folder / "broker.log"

    @property
    def _settings(self) -> str:
        return str(self._folder / "server.properties")

    def _format(self, jars: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        credentials.make(self._folder)
        text = _SETTINGS.format(
            folder=self._folder,
            plain=self._plain,
            sasl=self._sasl,
            tls=self._tls,
            mutual=self._mutual,
            audience=credentials.AUDIENCE,
            controller=self._controller,
            user=USER,
            password=PASSWORD,
        )
        Path(self._settings).write_text(text)
        words = ["format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", self._settings]
        for kind in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            words += ["--add-scram", f"{kind}=[name={USER},password={PASSWORD}]"]
        run(_java(jars, "kafka.tools.StorageTool", *words), within=START_WITHIN)


def fetch() -> Path:
    """
    Return the folder of Kafka's jars, fetched on first use; raises `Unreachable` when they cannot be had.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penstock"
    jars = cache / f"kafka-{VERSION}"
    if shutil.which("java") is None:
        raise Unreachable("Kafka needs Java 17: apt-get install default-jre-headless")
    if not jars.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(cache):
            if not jars.is_dir():
                _download(jars)
    return jars


def _download(jars: Path) -> None:
    if shutil.which("mvn") is None:
        raise Unreachable("Kafka is fetched with Maven: apt-get install maven")
    with tempfile.TemporaryDirectory(dir=jars.parent) as name:
        folder = Path(name)
        (folder / "pom.xml").write_text(_POM.format(version=VERSION))
        words = ["-B", "-q", "-f", str(folder / "pom.xml"), "dependency:copy-dependencies", "-DincludeScope=runtime"]
        run(["mvn", *words, f"-DoutputDirectory={folder / 'jars'}"], within=FETCH_WITHIN)
        (folder / "jars").rename(jars)


@contextlib.contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """
    Let one process at a time fetch.
    """
    with (cache / "kafka.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _java(jars: Path, name: str, *words: str, trusting: Path | None = None) -> list[str]:
    # Kafka 4 reads the keys of a token's issuer only from where this says.
    keys = [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://{trusting}/jwks.json"] if trusting else []
    return ["java", *_JAVA, *keys, "-cp", f"{jars}/*", name, *words]


def _bound() -> list[str]:
    """
    Return what makes a process end with us, however we end.
    """
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in taken:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in taken]


def main() -> int:
    """
    Run a broker until Ctrl-C; its data go with it.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="penstock-kafka-") as name:
        broker = Broker(Path(name), port=int(sys.argv[1]) if sys.argv[1:] else 9092)
        try:
            broker.start()
            sys.stdout.write(f"Kafka {VERSION} on {broker.address}; Ctrl-C stops it and deletes its data\n")
            sys.stdout.flush()
            broker.wait()
        except KeyboardInterrupt:
            return 0
        except Unreachable as error:
            sys.stderr.write(f"{error}\n")
            return 4
        finally:
            broker.stop(signal.SIGKILL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
