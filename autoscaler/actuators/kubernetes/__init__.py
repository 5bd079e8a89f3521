"""Kubernetes: Deployments and StatefulSets followed by watches and scaled, and leadership by a Lease.

The client library (`kubernetes.aio`) gives the configuration, credentials, TLS and HTTP; requests and watches are made here, on
plain JSON. Its models would cost the memory of whole pods where six fields are needed, and its Watch makes a second, default
client, reads past time-outs, and reconnects without a pause.

The verbs that a Role must give are in docs/rbac.md.
"""

from autoscaler.actuators.kubernetes.actuator import Kubernetes
from autoscaler.actuators.kubernetes.alerts import EventSink
from autoscaler.actuators.kubernetes.api import Api, ApiFailure
from autoscaler.actuators.kubernetes.connect import connect
from autoscaler.actuators.kubernetes.lease import Lease

__all__ = ["Api", "ApiFailure", "EventSink", "Kubernetes", "Lease", "connect"]
