"""Work that takes as long as it says, in queues that are scaled apart."""

from pydantic import BaseModel, ConfigDict, Field

from core.model import Contract
from core.retry import RetryPolicy


class Load(BaseModel):
    model_config = ConfigDict(frozen=True)

    run: str = Field(pattern=r"^[a-z0-9-]{1,40}$", description="Which test it belongs to.")
    n: int = Field(ge=0, description="Which job of it.")
    seconds: float = Field(0.0, ge=0, le=60, description="How long it takes.")


_RETRY = RetryPolicy(max_attempts=20, base=0.5, cap=5.0)
_EXAMPLES = ({"run": "burst", "n": 1, "seconds": 0.1},)

LOAD_QUICK = Contract(
    name="load.quick",
    description="Many short jobs.",
    payload=Load,
    queues=("quick",),
    retry=_RETRY,
    time_limit=60.0,
    examples=_EXAMPLES,
)
LOAD_LONG = Contract(
    name="load.long",
    description="A few long jobs.",
    payload=Load,
    queues=("long",),
    retry=_RETRY,
    time_limit=60.0,
    examples=_EXAMPLES,
)
LOAD_APART = Contract(
    name="load.apart",
    description="Long jobs, each in a Job of its own.",
    payload=Load,
    queues=("apart",),
    retry=_RETRY,
    time_limit=60.0,
    examples=_EXAMPLES,
)
