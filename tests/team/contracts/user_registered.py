"""A user has registered: a job type that goes to two queues."""

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from core.model import Contract
from core.retry import RetryPolicy


class UserRegistered(BaseModel):
    model_config = ConfigDict(frozen=True)

    user_id: int = Field(gt=0)
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)
    name: str = Field(min_length=1, max_length=200)
    registered_at: AwareDatetime


USER_REGISTERED = Contract(
    name="user.registered",
    description="A user has registered.",
    payload=UserRegistered,
    queues=("email", "points"),
    retry=RetryPolicy(max_attempts=6, base=1.0, cap=60.0),
    time_limit=20.0,
    examples=({"user_id": 42, "email": "ada@example.com", "name": "Ada Lovelace", "registered_at": "2026-01-31T09:30:00Z"},),
)
