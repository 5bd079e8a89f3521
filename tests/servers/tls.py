"""An authority of our own, as a company has one, and servers on this machine whose certificates it has signed."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import redis

from tests.servers import find, free_port
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.redis import RedisServer

_NAMES = ("DNS:localhost", "DNS:server.example", "IP:127.0.0.1")
_SERVER = (
    "subjectAltName={names}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\nauthorityKeyIdentifier=keyid\n"
)
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256")
_MONTH = ("-days", "30")
# Python 3.13 and later refuse an authority that does not say what its key is for, and a certificate that does not name its key.
_CA = ("-addext", "keyUsage=critical,keyCertSign,cRLSign", *_MONTH)


class Authority:
    """certificate: what clients are to trust. key and signed: of servers of these names, signed by it."""

    def __init__(self, folder: Path, names: Sequence[str] = _NAMES) -> None:
        self._openssl = find("openssl", "openssl")
        self.certificate, self.key, self.signed = (folder / name for name in ("ca.crt", "server.key", "server.crt"))
        own, request, extensions = (folder / name for name in ("ca.key", "server.csr", "server.ext"))
        extensions.write_text(_SERVER.format(names=",".join(names)))
        self._run("req", "-x509", *_KEY, "-keyout", own, "-out", self.certificate, "-subj", "/CN=an authority", *_CA)
        self._run("req", *_KEY, "-keyout", self.key, "-out", request, "-subj", "/CN=a server")
        by = ("-CA", self.certificate, "-CAkey", own, "-set_serial", "2", "-extfile", extensions)
        self._run("x509", "-req", "-in", request, "-out", self.signed, *by, *_MONTH)

    def server(self) -> ssl.SSLContext:
        """For a server in this process."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.signed, self.key)
        return context

    def lines(self, *prefixes: str) -> str:
        """Of RabbitMQ's configuration, for each listener that has such a prefix."""
        files = {"cacertfile": self.certificate, "certfile": self.signed, "keyfile": self.key}
        return "".join(f"{prefix}.{name} = {file}\n" for prefix in prefixes for name, file in files.items())

    def _run(self, *command: str | Path) -> None:
        subprocess.run([self._openssl, *command], check=True, capture_output=True)


class SecretRedis(RedisServer):
    """Over TLS alone. more: such as what makes it a cluster; sentinel_of: the port of a primary that it watches as `headrace`."""

    def __init__(self, folder: Path, authority: Authority, *more: str, sentinel_of: int = 0) -> None:
        super().__init__(folder)
        self._authority = authority
        self.url = f"rediss://127.0.0.1:{self.port}/0"
        files = {"cert-file": authority.signed, "key-file": authority.key, "ca-cert-file": authority.certificate}
        self._options = tuple(word for name, file in files.items() for word in (f"--tls-{name}", str(file)))
        self._options += ("--tls-port", str(self.port), "--tls-auth-clients", "no", "--tls-replication", "yes", *more)
        self._first: tuple[str | Path, ...] = ()
        if sentinel_of:
            file = folder / "sentinel.conf"
            file.write_text(f"sentinel monitor headrace 127.0.0.1 {sentinel_of} 1\n")
            self._first = (file, "--sentinel")

    def start(self) -> None:
        command = [self._program, *self._first, "--port", "0", "--bind", "127.0.0.1", "--dir", self.folder, *self._options]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log)
        self.wait()

    def ask(self, *command: str) -> object:
        ca = str(self._authority.certificate)
        with redis.Redis("127.0.0.1", self.port, ssl=True, ssl_ca_certs=ca, decode_responses=True, protocol=2) as client:
            return client.execute_command(*command)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def another_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """It has signed no certificate of a server that runs."""
    return Authority(tmp_path_factory.mktemp("another-authority"))


@pytest.fixture(scope="session")
def secret_rabbitmq(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[RabbitMQServer]:
    """AMQP and the management API over TLS; `url` and `management_url` lead there."""
    amqp, management = free_port(), free_port()
    more = f"listeners.ssl.1 = 127.0.0.1:{amqp}\nlisteners.ssl.2 = 127.0.0.2:{amqp}\n"
    more += f"management.ssl.port = {management}\nmanagement.ssl.ip = 127.0.0.1\n"
    more += authority.lines("ssl_options", "management.ssl")
    server = RabbitMQServer(tmp_path_factory.mktemp("secret-rabbitmq"), management=True, more=more)
    server.start()
    server.url = f"amqps://guest:guest@127.0.0.1:{amqp}/"
    server.management_url = f"https://guest:guest@127.0.0.1:{management}"
    yield server
    server.end()


@pytest.fixture(scope="session")
def secret_postgres(authority: Authority) -> Iterator[Postgres]:
    """One that takes connections over TLS alone."""
    with tempfile.TemporaryDirectory(prefix="headrace-postgres-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = Postgres(Path(folder))
        server.make()
        data = server.data
        for name, file in {"server.crt": authority.signed, "server.key": authority.key}.items():
            shutil.copyfile(file, data / name)
            (data / name).chmod(0o600)
            shutil.chown(data / name, data.owner(), data.group())
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write("ssl = on\n")
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")
        server.start()
        yield server
        server.stop()
