"""A table is to be imported: it may have an error that no repeat repairs."""

from pydantic import BaseModel, ConfigDict, Field

from core.model import Contract
from core.retry import RetryPolicy


class TableImported(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*\.csv$", max_length=100)


TABLE_IMPORTED = Contract(
    name="table.imported",
    description="A table in the inbox is to be imported.",
    payload=TableImported,
    queues=("tables",),
    retry=RetryPolicy(max_attempts=5, base=1.0, cap=60.0),
    time_limit=30.0,
    examples=({"name": "orders.csv"},),
)
