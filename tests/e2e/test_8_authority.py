"""A broker and a store that only speak TLS, with certificates of a company's own authority."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.release import CHART, Json, Release, merged, until
from tests.servers.kubernetes import Cluster
from tests.servers.tls import Authority

pytestmark = pytest.mark.needs("openssl")

_OFFICIAL = {"rabbitmq": "rabbitmq:3.13", "redis": "redis:7.2"}
_LABELS = {"app": "secure"}
_FILES = "/etc/e2e/tls"
_BROKER = f"""
listeners.tcp = none
listeners.ssl.default = 5671
ssl_options.cacertfile = {_FILES}/ca.crt
ssl_options.certfile = {_FILES}/tls.crt
ssl_options.keyfile = {_FILES}/tls.key
default_user = headrace
default_pass = secret
log.console = true
"""
_TLS = ("--port", "0", "--tls-port", "6380", "--tls-cert-file", f"{_FILES}/tls.crt", "--tls-key-file", f"{_FILES}/tls.key")
_STORE = ["redis-server", *_TLS, "--tls-ca-cert-file", f"{_FILES}/ca.crt", "--tls-auth-clients", "no", "--requirepass", "secret"]
VALUES: Json = {
    "caBundle": {"existingSecret": "tls"},
    "rabbitmq": {"mode": "external", "replicationFactor": 1, "external": {"existingSecret": "urls", "key": "broker"}},
    "redis": {"mode": "external", "external": {"existingSecret": "urls", "key": "store"}},
    "gateway": {"replicas": 1, "apiKeys": {"open": True}},
    "controller": {"replicas": 1},
    "consumers": {"registration": {"enabled": False}},
    "mail": {"mode": "none"},
}


@pytest.fixture(scope="module")
def servers(cluster: Cluster, images: Json, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """A release that is not installed, with the servers beside it, and with Secrets that have their URLs and certificates."""
    made = Release(cluster, images, "private")
    host = f"secure.{made.namespace}.svc"
    authority = Authority(tmp_path_factory.mktemp("company"), [f"DNS:{host}"])
    files = {"ca.crt": authority.certificate, "tls.crt": authority.signed, "tls.key": authority.key}
    ports = [{"name": f"port-{port}", "port": port} for port in (5671, 6380)]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "secure"}, "spec": {"selector": _LABELS, "ports": ports}}
    made.apply(
        _secret("tls", {name: file.read_text() for name, file in files.items()}),
        _secret("urls", {"broker": f"amqps://headrace:secret@{host}:5671/", "store": f"rediss://:secret@{host}:6380/0"}),
        _secret("broker", {"rabbitmq.conf": _BROKER}),
        service,
        _pod(images),
    )
    made.kubectl("wait", "pod/secure", "--for=condition=Ready", "--timeout=90s", seconds=100)
    yield made
    made.end()


def test_a_release_that_trusts_the_authority_does_a_job(servers: Release) -> None:
    servers.install(VALUES, base={})
    assert "succeeded" in servers.helm("test", servers.name, "--logs")
    for component in ("gateway", "controller", "consumer"):
        (pod,) = servers.pods(component)
        assert [status["restartCount"] for status in pod["status"]["containerStatuses"]] == [0]


def test_one_that_does_not_says_so(servers: Release) -> None:
    """No test waits for its gateway, which does not become ready."""
    alone: Json = {"caBundle": {"existingSecret": ""}, "consumerDefaults": {"enabled": False}, "controller": {"enabled": False}}
    values = merged(VALUES, servers.images, alone, {"bindings": {"prune": False}})
    servers.helm("install", "trustless", str(CHART), values=[values])
    log = ("logs", "deployment/trustless-headrace-gateway")
    until(lambda: servers.kubectl(*log), lambda said: "nobody whom we trust has signed its certificate" in said, 40, "its log")


def _secret(name: str, data: dict[str, str]) -> Json:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def _pod(images: Json) -> Json:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    tls = {"name": "tls", "mountPath": _FILES}

    def container(name: str, port: int, *mounts: Json, **more: object) -> Json:
        probe = {"tcpSocket": {"port": port}, "periodSeconds": 1}
        own = images.get(name, {}).get("dev", {})
        image = {"image": own.get("image", f"docker.io/library/{_OFFICIAL[name]}"), "imagePullPolicy": "IfNotPresent"}
        return {"name": name, **image, "securityContext": security, "readinessProbe": probe, "volumeMounts": [tls, *mounts], **more}

    spec = {
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 999,
            "fsGroup": 999,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            container(
                "rabbitmq",
                5671,
                {"name": "broker", "mountPath": "/etc/rabbitmq/conf.d"},
                {"name": "data", "mountPath": "/var/lib/rabbitmq"},
                {"name": "logs", "mountPath": "/var/log/rabbitmq"},
                env=[{"name": "HOME", "value": "/var/lib/rabbitmq"}],
            ),
            container("redis", 6380, {"name": "data", "mountPath": "/data"}, command=_STORE, workingDir="/data"),
        ],
        "volumes": [
            {"name": "tls", "secret": {"secretName": "tls", "defaultMode": 0o440}},
            {"name": "broker", "secret": {"secretName": "broker", "defaultMode": 0o440}},
            {"name": "data", "emptyDir": {}},
            {"name": "logs", "emptyDir": {}},
        ],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "secure", "labels": _LABELS}, "spec": spec}
