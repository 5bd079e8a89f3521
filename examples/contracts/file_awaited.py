"""A file will arrive: the job waits for it, without a handler that waits."""

from pydantic import BaseModel, ConfigDict, Field

from core.model import Contract
from core.retry import RetryPolicy


class FileAwaited(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=100)


FILE_AWAITED = Contract(
    name="file.awaited",
    description="A file will arrive in the inbox.",
    payload=FileAwaited,
    queues=("files",),
    retry=RetryPolicy(max_attempts=500, base=1.0, cap=60.0),  # each look at the inbox is an attempt
    time_limit=5.0,
    examples=({"name": "orders.csv"},),
)
