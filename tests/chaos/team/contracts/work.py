"""Work that takes as long as it says, and leaves what can be counted."""

from pydantic import BaseModel, ConfigDict, Field

from core.model import Contract
from core.retry import RetryPolicy


class Work(BaseModel):
    model_config = ConfigDict(frozen=True)

    run: str = Field(pattern=r"^[a-z0-9-]{1,60}$", description="Which load it belongs to.")
    n: int = Field(ge=0, description="Which job of it.")
    seconds: float = Field(0.0, ge=0, le=60, description="How long it takes.")
    later: float = Field(0.0, ge=0, le=600, description="Its first attempt asks to be run again in so many seconds.")
    refuses: bool = Field(False, description="It can never be done.")


# More attempts than an outage of a minute costs: a job that fails during all of it is meant to be tried again.
_RETRY = RetryPolicy(max_attempts=60, base=0.5, cap=3.0)
_EXAMPLES = ({"run": "stall", "n": 1, "seconds": 0.1},)

WORK_BOTH = Contract(
    name="work.both",
    description="Two deliveries a job, in queues that consumers of the harness take.",
    payload=Work,
    queues=("alpha", "beta"),
    retry=_RETRY,
    time_limit=30.0,
    examples=_EXAMPLES,
)
WORK_SCALED = Contract(
    name="work.scaled",
    description="In a queue whose consumers the controller starts.",
    payload=Work,
    queues=("gamma",),
    retry=_RETRY,
    time_limit=30.0,
    examples=_EXAMPLES,
)
WORK_ROW = Contract(
    name="work.row",
    description="A row in the handlers' own database.",
    payload=Work,
    queues=("rows",),
    retry=_RETRY,
    time_limit=30.0,
    examples=_EXAMPLES,
)
