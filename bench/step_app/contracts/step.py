"""A job that knows when it was published."""

from pydantic import BaseModel, ConfigDict, Field

from core.model import Contract
from core.retry import RetryPolicy


class Step(BaseModel):
    model_config = ConfigDict(frozen=True)

    at: float = Field(gt=0, description="When it was published, Unix seconds.")


STEP = Contract(
    name="step.job",
    payload=Step,
    queues=("step",),
    retry=RetryPolicy(max_attempts=5, base=1.0, cap=5.0),
    time_limit=20.0,
    examples=({"at": 1_750_000_000.0},),
)
