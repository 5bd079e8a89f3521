"""Where the API server is, and who we are there."""

from __future__ import annotations

import os
from pathlib import Path

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from autoscaler.actuators.kubernetes.api import Api
from core.errors import SettingsError

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


async def connect(kubeconfig: str = "", namespace: str = "") -> Api:
    """An API of one namespace; nothing is asked of the server yet.

    kubeconfig: a file; without it the pod's service account, else $KUBECONFIG. namespace: else the pod's own, or the context's.
    A service account's token is read again every minute by the client library; a kubeconfig (token file, exec plugin) is loaded
    again when the server answers 401. Certificates are read once. Raises SettingsError with the reason.
    """
    settings = Configuration()
    # The proxies of the environment are for servers elsewhere. A kubeconfig names one of its own as `proxy-url`.
    settings.client_session_kwargs = {"trust_env": False}
    settings.connection_pool_maxsize = 0  # no limit: each watch holds a connection, and a request must never wait for one of them
    path = kubeconfig or ("" if "KUBERNETES_SERVICE_HOST" in os.environ else os.environ.get("KUBECONFIG", ""))
    if not path:
        return _of_the_pod(settings, namespace)

    async def load() -> None:
        await config.load_kube_config(path, client_configuration=settings, persist_config=False)

    try:
        await load()
        namespace = namespace or _of_the_context(path)
    except Exception as error:  # whatever YAML, the files and an exec plugin raise
        raise SettingsError(f"kubeconfig {path!r} cannot be used: {error}") from error
    return Api(ApiClient(settings), namespace, load)


def _of_the_pod(settings: Configuration, namespace: str) -> Api:
    try:
        config.load_incluster_config(settings)
        return Api(ApiClient(settings), namespace or _NAMESPACE.read_text(encoding="utf-8").strip())
    except (config.ConfigException, OSError) as error:
        reason = (
            f"HEADRACE_ACTUATOR=kubernetes finds no cluster: set KUBECONFIG to a kubeconfig, run in a pod with a service account, "
            f"or set HEADRACE_ACTUATOR=processes ({error})"
        )
        raise SettingsError(reason) from error


def _of_the_context(path: str) -> str:
    _, active = config.list_kube_config_contexts(path)
    return str(active["context"].get("namespace") or "default")
