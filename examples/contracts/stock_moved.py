"""Stock has moved: a row in a database, written once for each job."""

from pydantic import BaseModel, ConfigDict, Field

from core.model import Contract
from core.retry import RetryPolicy


class StockMoved(BaseModel):
    model_config = ConfigDict(frozen=True)

    article: str = Field(pattern=r"^[A-Z0-9-]{1,20}$")
    pieces: int = Field(ge=-1_000_000, le=1_000_000)


STOCK_MOVED = Contract(
    name="stock.moved",
    description="Pieces of an article came in (above 0) or went out (below 0).",
    payload=StockMoved,
    queues=("stock",),
    retry=RetryPolicy(max_attempts=5, base=1.0, cap=60.0),
    time_limit=20.0,
    examples=({"article": "LAMP-7", "pieces": 12},),
)
