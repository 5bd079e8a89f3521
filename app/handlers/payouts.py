"""The payout for a paid order: the amount, less the fee."""

from __future__ import annotations

import asyncio
from decimal import ROUND_HALF_EVEN, Decimal

from sqlalchemy import Integer, Numeric, String
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Mapped, mapped_column

from app.contracts.order_settled import OrderSettled
from app.resources.database import Base, insert_once
from consumer import Context, handler

FEE_RATE = Decimal("0.029")
CENT = Decimal("0.01")


class Payout(Base):
    """The payout for one order."""

    __tablename__ = "payouts"

    idempotency_key: Mapped[str] = mapped_column(String(200), primary_key=True)
    order_id: Mapped[int] = mapped_column(Integer, index=True)
    currency: Mapped[str] = mapped_column(String(3))
    fee: Mapped[Decimal] = mapped_column(Numeric(14, 2))
    payout: Mapped[Decimal] = mapped_column(Numeric(14, 2))


def fee_of(amount: Decimal) -> Decimal:
    """2.9 % of the amount, rounded half to even, so that the cents of many orders do not drift."""
    return (amount * FEE_RATE).quantize(CENT, ROUND_HALF_EVEN)


@handler("order.settled", queue="payouts")
async def settle(order: OrderSettled, ctx: Context, engine: Engine) -> dict[str, str]:
    fee = fee_of(order.amount)
    row = {
        "idempotency_key": ctx.idempotency_key,
        "order_id": order.order_id,
        "currency": order.currency,
        "fee": fee,
        "payout": order.amount - fee,
    }
    await asyncio.to_thread(insert_once, engine, Payout, row)
    return {"fee": str(fee), "payout": str(order.amount - fee), "currency": order.currency}
