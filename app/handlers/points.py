"""The first points of a new user: one row in the project's database."""

from __future__ import annotations

from sqlalchemy import Integer, String
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Mapped, mapped_column

from app.contracts.user_registered import UserRegistered
from app.resources.database import Base, insert_once
from consumer import Context, handler

WELCOME_POINTS = 100


class Points(Base):
    """One credit. The key makes it single, however often the job runs."""

    __tablename__ = "points"

    idempotency_key: Mapped[str] = mapped_column(String(200), primary_key=True)
    user_id: Mapped[int] = mapped_column(Integer, index=True)
    points: Mapped[int] = mapped_column(Integer)


@handler("user.registered", queue="points")
def credit(user: UserRegistered, ctx: Context, engine: Engine) -> dict[str, object]:
    row = {"idempotency_key": ctx.idempotency_key, "user_id": user.user_id, "points": WELCOME_POINTS}
    return {"points": WELCOME_POINTS, "credited": insert_once(engine, Points, row)}
