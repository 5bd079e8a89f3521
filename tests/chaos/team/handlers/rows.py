"""A row for each job of work.row, in the database that the shipped handlers use."""

import uuid

from sqlalchemy import Integer, String
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Mapped, mapped_column

from app.contracts.work import Work
from app.handlers.work import note
from app.resources.database import Base, insert_once
from consumer import Context, handler


class Row(Base):
    """One effect. The key makes it single, however often the job runs."""

    __tablename__ = "chaos_rows"

    idempotency_key: Mapped[str] = mapped_column(String(200), primary_key=True)
    n: Mapped[int] = mapped_column(Integer)


@handler("work.row", queue="rows")
def row(work: Work, ctx: Context, engine: Engine) -> bool:
    run = uuid.uuid4().hex
    note("begin", run, work, ctx)
    inserted = insert_once(engine, Row, {"idempotency_key": ctx.idempotency_key, "n": work.n})
    note("end" if inserted else "found", run, work, ctx)
    return inserted
