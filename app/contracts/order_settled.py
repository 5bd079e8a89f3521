"""An order is paid for: compute the fee, and note what is paid out."""

from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from core.model import Contract
from core.retry import RetryPolicy


class OrderSettled(BaseModel):
    model_config = ConfigDict(frozen=True)

    order_id: int = Field(gt=0, description="The order's number.")
    user_id: int = Field(gt=0, description="Who ordered.")
    amount: Decimal = Field(gt=0, max_digits=14, decimal_places=2, description="What was paid, as a string: no binary fraction.")
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code.")


ORDER_SETTLED = Contract(
    name="order.settled",
    description="An order is paid for.",
    payload=OrderSettled,
    queues=("payouts",),
    retry=RetryPolicy(max_attempts=10, base=2.0, cap=600.0),
    time_limit=20.0,
    priority=5,
    deadline=86_400.0,
    examples=({"order_id": 7001, "user_id": 42, "amount": "129.90", "currency": "EUR"},),
)
