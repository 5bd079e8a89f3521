"""The autoscalers that ours is measured against, each from its published source. Constructors' defaults are the documented ones."""

from __future__ import annotations

from simulator.rivals.fixed import Fixed
from simulator.rivals.hpa import HPA
from simulator.rivals.hpa_rules import Behavior, PolicyType, ScalingPolicy, ScalingRules, Select
from simulator.rivals.keda import KEDA, Mode, Protocol, Trigger
from simulator.rivals.kpa import KPA
from simulator.rivals.practo import Practo

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
