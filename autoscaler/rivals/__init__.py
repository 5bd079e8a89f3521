"""The autoscalers that ours is measured against, each from its published source. Constructors' defaults are the documented ones."""

from __future__ import annotations

from autoscaler.rivals.fixed import Fixed
from autoscaler.rivals.hpa import HPA
from autoscaler.rivals.hpa_rules import Behavior, PolicyType, ScalingPolicy, ScalingRules, Select
from autoscaler.rivals.keda import KEDA, Mode, Protocol, Trigger
from autoscaler.rivals.kpa import KPA
from autoscaler.rivals.practo import Practo

__all__ = [
    "HPA",
    "KEDA",
    "KPA",
    "Behavior",
    "Fixed",
    "Mode",
    "PolicyType",
    "Practo",
    "Protocol",
    "ScalingPolicy",
    "ScalingRules",
    "Select",
    "Trigger",
]
