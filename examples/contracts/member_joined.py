"""A member has joined: one job type for two queues."""

from pydantic import BaseModel, ConfigDict, Field

from core.model import Contract
from core.retry import RetryPolicy


class MemberJoined(BaseModel):
    model_config = ConfigDict(frozen=True)

    member_id: int = Field(gt=0)
    name: str = Field(min_length=1, max_length=200)


MEMBER_JOINED = Contract(
    name="member.joined",
    description="A member has joined.",
    payload=MemberJoined,
    queues=("badges", "greetings"),  # each has a delivery of its own, with attempts, a result and an error of its own
    retry=RetryPolicy(max_attempts=3, base=1.0, cap=60.0),
    time_limit=5.0,
    examples=({"member_id": 42, "name": "Ada Lovelace"},),
)
