"""The controller's own settings."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from autoscaler.model import Policy
from autoscaler.schedule import Floor
from core.errors import SettingsError
from core.secret_url import Schemes
from core.settings import Settings, file_of

HttpUrl = Annotated[SecretStr, AfterValidator(Schemes("http", "https", optional=True))]
# Label matchers of PromQL (https://prometheus.io/docs/prometheus/latest/querying/basics/), with commas between.
_MATCHER = r'[a-zA-Z_]\w*\s*(=|!=|=~|!~)\s*"([^"\\]|\\.)*"'
_MATCHERS = re.compile(rf"\s*({_MATCHER}(\s*,\s*{_MATCHER})*\s*)?")


def is_selector(text: str) -> bool:
    """Whether these are label matchers of PromQL with commas between, or nothing."""
    return _MATCHERS.fullmatch(text) is not None


_POLICY = {f.name: f.type for f in fields(Policy)}

# Where each replica takes one job: none waits for jobs, each job that is there has one of its own, and may take its time.
_OF_JOBS: Final[dict[str, Any]] = {"min_replicas": 0, "concurrency": 1, "fallback_replicas": 0}
_OF_JOBS_AT_FIRST: Final[dict[str, Any]] = {"tolerance": 0.0, "latency_threshold": 86_400.0, "guard_seconds": 86_400.0}


class WorkloadSettings(BaseModel):
    """A group that scales together: some queues, and one policy for each of them.

    name: a Deployment's, `statefulset/NAME`, or `job/NAME` for a process, or a Job made from the CronJob NAME, for each delivery of
    one queue. policy: fields of Policy that differ from its defaults; `floors` is a list of {cron, replicas, zone}.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    queues: tuple[str, ...] = Field(min_length=1)
    policy: dict[str, Any] = Field(default_factory=dict)

    @property
    def ends_itself(self) -> bool:
        """Whether each replica takes one delivery, and ends with it."""
        return takes_one(self.name)

    @model_validator(mode="before")
    @classmethod
    def _of_jobs(cls, given: Any) -> Any:
        """A workload of jobs has a policy of its own kind."""
        if not isinstance(given, dict) or not takes_one(given.get("name")) or not isinstance(given.get("policy", {}), dict):
            return given
        policy = given.get("policy", {})
        for name, value in _OF_JOBS.items():
            if policy.get(name, value) != value:
                raise ValueError(f"policy: {name}={policy[name]!r} must be {value} for {given['name']}: each replica takes one job")
        if policy.get("floors"):
            raise ValueError(f"policy: floors: of {given['name']} none waits for jobs: each replica takes one, and ends with it")
        return given | {"policy": _OF_JOBS_AT_FIRST | _OF_JOBS | policy}

    @model_validator(mode="after")
    def _of_one_queue(self) -> Self:
        if self.ends_itself and len(self.queues) > 1:
            raise ValueError(f"{self.name}: a workload of jobs has one queue, and this has {len(self.queues)}; make one for each")
        return self

    @field_validator("policy")
    @classmethod
    def _known(cls, value: dict[str, Any]) -> dict[str, Any]:
        policy_of(value)
        return value


def takes_one(workload: Any) -> bool:
    """Whether each replica of the workload of this name takes one delivery."""
    return isinstance(workload, str) and workload.lower().startswith("job/")


def policy_of(given: dict[str, Any]) -> Policy:
    """The policy with these fields. Raises ValueError that names the field, its value and what is allowed."""
    unknown = given.keys() - _POLICY.keys()
    if unknown:
        raise ValueError(f"policy: there is no field {sorted(unknown)[0]!r}; there are: {', '.join(sorted(_POLICY))}")
    try:
        for name, value in given.items():
            if name != "floors":
                _check(name, value, whole=_POLICY[name] == "int")
        return Policy(**{**given, "floors": tuple(_floor(floor) for floor in _list(given.get("floors", [])))})
    except SettingsError as error:
        raise ValueError(str(error)) from None


def _floor(given: Any) -> Floor:
    if not isinstance(given, dict) or not {"cron", "replicas"} <= given.keys() <= {"cron", "replicas", "zone"}:
        raise SettingsError(f"policy: floors: {given!r} must be {{cron, replicas, zone}}; zone may be left out")
    _check("floors.replicas", given["replicas"], whole=True)
    return Floor(str(given["cron"]), given["replicas"], str(given.get("zone", "UTC")))


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise SettingsError(f"policy: floors={value!r} must be a list of {{cron, replicas, zone}}")
    return value


def _check(name: str, value: Any, *, whole: bool) -> None:
    """JSON has strings and fractions where the policy has numbers and counts."""
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise SettingsError(f"policy: {name}={value!r} must be a {'whole number' if whole else 'number'}")


class ControllerSettings(Settings):
    """The settings of the controller besides the shared ones. Durations are seconds."""

    workloads: tuple[WorkloadSettings, ...] = Field(
        (),
        description="What is scaled, as JSON: `[{name, queues, policy}]`; empty is one workload `consumer` with all queues.",
    )
    actuator: Literal["processes", "kubernetes"] = Field(
        "processes", description="What starts consumers: this machine's processes, or a Kubernetes namespace."
    )
    dry_run: bool = Field(
        False,
        description="Decide, record, alert, and scale nothing. On a cluster it sees the consumers of another controller; on one "
        "machine none, since they are that one's children, and it needs a folder of its own.",
    )
    interval: float = Field(1.0, ge=0.1, le=300, description="How often each queue is decided about.")
    signal_timeout: float = Field(1.5, gt=0, le=60, description="How long one source of figures may take.")
    management_url: HttpUrl = Field(
        SecretStr(""),
        description="RabbitMQ's management API, `http://user:password@host:15672`; without user and password with those of "
        "`HEADRACE_BROKER`. Empty: depths are asked over AMQP alone.",
    )
    management_url_file: str = file_of("HEADRACE_MANAGEMENT_URL")
    prometheus_url: HttpUrl = Field(
        SecretStr(""), description="A Prometheus server, `http://prometheus:9090`, for what nobody else tells; empty: none."
    )
    prometheus_selector: str = Field(
        "",
        description='Which series are those of our consumers, as in PromQL: `namespace="jobs",release="headrace"`; empty: all.',
    )
    namespace: str = Field("", description="The Kubernetes namespace; empty is the one that the controller runs in.")
    consumer_port: int = Field(8081, ge=1, le=65_535, description="The port of consumers' probes, where a pod names none.")
    lease_name: str = Field(
        "headrace-controller",
        description="The Lease by which controllers agree on which one acts.",
        json_schema_extra={"was": "lease"},
    )
    trace_url: str = Field("", description="A link to a trace, with `{trace_id}` in it, for alerts.")
    alert_url: HttpUrl = Field(
        SecretStr(""),
        description="Where alerts are posted in Alertmanager's v2 format, such as `http://alertmanager:9093/api/v2/alerts`.",
    )
    registry: str = Field(
        ".headrace/consumers", description="The folder in which local consumer processes are noted: of one controller at a time."
    )
    drain_seconds: float = Field(
        25.0,
        ge=0,
        le=3600,
        description="How long local consumer processes may take for their runs when they are to end, where the policy of their "
        "workload does not say it. They get it as their own `HEADRACE_DRAIN_SECONDS`.",
    )
    controller_host: str = Field("127.0.0.1", description="The address of the controller's probes and metrics.")
    controller_port: int = Field(8082, ge=0, le=65_535, description="Their port; 0 is any free one, which is logged.")

    def management(self) -> str:
        """The management API's URL, read again from its file, or "". Where it names no user, with the broker's, as it is now."""
        parts = urlsplit(self.management_url.get_secret_value())
        login = urlsplit(self.broker.get_secret_value()).netloc.rpartition("@")[0]
        bare = parts.netloc and "@" not in parts.netloc
        return (parts._replace(netloc=f"{login}@{parts.netloc}") if bare and login else parts).geturl()

    @field_validator("prometheus_selector")
    @classmethod
    def _matchers(cls, value: str) -> str:
        if not is_selector(value):
            raise ValueError('write label matchers as in PromQL, with commas between: namespace="jobs",release="headrace"')
        return value

    @field_validator("trace_url")
    @classmethod
    def _template(cls, value: str) -> str:
        if value and "{trace_id}" not in value:
            raise ValueError("write {trace_id} where the id goes, as in https://tempo.example/trace/{trace_id}")
        return value
