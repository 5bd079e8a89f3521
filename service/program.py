"""`python -m service`: run the gateway."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import sys
from collections.abc import Iterator

import uvicorn
import uvloop

from core import project
from core.errors import ContractError, SettingsError
from core.settings import load
from service.app import Gateway, create
from service.protocol import LimitedProtocol
from service.settings import GatewaySettings
from telemetry import logs, signals
from telemetry.listening import bound
from telemetry.supervisor import Supervisor

_log = logs.get("service")

# Files beside the connections: to broker and store, logs, SQLite's, and what libraries open for a moment.
_OTHER_FILES = 256


class _Server(uvicorn.Server):
    """uvicorn that says it is not ready from the moment of SIGTERM on, and whose drain ends with exit code 0.

    linger: seconds for which it goes on to serve, and tells each connection to close with its answer. A balancer that does not
    know yet still sends requests; and a kept connection that is closed while its client sends would cost that request.
    """

    def __init__(self, config: uvicorn.Config, gateway: Gateway, linger: float) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._linger = linger
        self._stopping = False
        self.failed = False

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        signals.listen(self._begin_to_stop)
        yield

    def give_up(self, reason: str) -> None:
        """A task cannot be kept running: end as after SIGTERM, but with exit code 1, to be started again by the orchestrator."""
        _log.critical("a task cannot be kept running; the program ends, to be started anew", why=reason)
        self.failed = True
        self._begin_to_stop()

    def _begin_to_stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._gateway.begin_to_close()
        closing = (b"connection", b"close")
        self.config.encoded_headers.append(closing)  # from which the server makes its default headers, every second
        self.server_state.default_headers.append(closing)
        asyncio.get_running_loop().call_later(self._linger, self._exit)

    def _exit(self) -> None:
        self.should_exit = True


def _make_room(connections: int) -> None:
    """A process may have 1,024 files open unless it asks for more, and resets connections beyond."""
    wanted = connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted:
            what = "too few files may be open for HEADRACE_MAX_CONNECTIONS: raise the limit (ulimit -Hn), or lower the setting"
            logs.get("gateway").warning(what, files=allowed, connections=connections)


def main() -> int:
    """The exit code: 0 after a drain, 1 when a task cannot be kept running, 2 for a setting or a contract that cannot be used."""
    epilog = "Its settings are environment variables: `headrace settings` lists them."
    argparse.ArgumentParser(prog="python -m service", description="Run the gateway.", epilog=epilog).parse_args()
    supervisor = Supervisor()
    try:
        settings = load(GatewaySettings)
        gateway = create(settings, project.catalogue(), supervisor)
        sockets = bound("HEADRACE", settings.host, settings.port)
    except (SettingsError, ContractError) as error:
        print(error, file=sys.stderr)
        return 2
    logs.configure(settings.log_level, settings.log_format, "gateway")
    _make_room(settings.max_connections)
    LimitedProtocol.max_headers = settings.max_headers
    LimitedProtocol.seconds = {"head": settings.head_timeout, "body": settings.body_timeout}
    LimitedProtocol.max_connections = settings.max_connections
    config = uvicorn.Config(
        gateway,
        interface="asgi3",
        proxy_headers=False,
        http=LimitedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=int(settings.drain_seconds),
        backlog=2048,
        timeout_keep_alive=settings.keep_alive_seconds,
    )
    server = _Server(config, gateway, settings.linger_seconds)
    supervisor.give_up = server.give_up
    uvloop.run(signals.to_the_end(server.serve(sockets)))
    return 1 if server.failed else 0
