"""The gateway's own settings."""

from __future__ import annotations

from pydantic import Field

from core.settings import Settings


class GatewaySettings(Settings):
    """The settings of the gateway besides the shared ones. Durations are seconds, sizes are bytes."""

    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(8080, ge=0, le=65_535, description="The port to listen on.")
    api_keys: str = Field(
        "",
        description="A file of API keys, or a folder of such files; `open` lets everyone in. Empty: open where only this machine "
        "can reach `HEADRACE_HOST`, and refused elsewhere. See security.md.",
    )
    max_body: int = Field(1_048_576, ge=1, le=104_857_600, description="The longest body of a request.")
    body_timeout: float = Field(10.0, gt=0, le=300, description="How long a request may take to send its body.")
    max_headers: int = Field(16_384, ge=1024, le=1_048_576, description="The longest head of a request, all headers together.")
    head_timeout: float = Field(10.0, gt=0, le=300, description="How long a request may take to send its head.")
    max_connections: int = Field(2048, ge=1, description="Connections at once; more are answered 503.")
    max_unconfirmed: int = Field(10_000, ge=1, description="Jobs that may wait for the broker's confirm; more are answered 503.")
    max_unconfirmed_bytes: int = Field(
        67_108_864, ge=1, description="Bytes of their bodies, all together; more jobs are answered 503 while so much waits."
    )
    record_wait: float = Field(
        0.05,
        ge=0,
        le=5,
        description="How long an answer waits for the `queued` record, so that `Location` can be followed at once.",
    )
    replay_rate: float = Field(100.0, gt=0, description="Dead letters that one bulk replay sends in a second.")
    keep_alive_seconds: int = Field(
        75,
        ge=1,
        le=3600,
        description="How long a connection without a request is kept: longer than the load balancer before it keeps one (60 in "
        "most), since a request that is sent while its connection is closed is lost.",
    )
    linger_seconds: float = Field(
        0.0,
        ge=0,
        le=300,
        description="How long requests are still taken after SIGTERM, each connection being told to close with its answer: as long "
        "as a load balancer may go on to send them here. Readiness fails at once.",
    )
    drain_seconds: float = Field(25.0, ge=0, le=3600, description="How long running requests may take to finish after SIGTERM.")
