"""Primes are to be counted: a long job of CPU time."""

from pydantic import BaseModel, ConfigDict, Field

from core.model import Contract
from core.retry import RetryPolicy


class PrimesCounted(BaseModel):
    model_config = ConfigDict(frozen=True)

    below: int = Field(gt=0, le=1_000_000_000)


PRIMES_COUNTED = Contract(
    name="primes.counted",
    description="The primes below a number are to be counted.",
    payload=PrimesCounted,
    queues=("sums",),
    retry=RetryPolicy(max_attempts=2, base=1.0, cap=60.0),
    time_limit=600.0,
    examples=({"below": 20_000_000},),
)
