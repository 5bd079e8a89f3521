"""A resource with a pool, and an effect that happens once.

A run can be repeated: its process may end after the commit and before the outcome is recorded. The idempotency key is the same
in all runs of a delivery, so the second row is refused by the database.
"""

from __future__ import annotations

from consumer import Context, handler
from examples.contracts.stock_moved import StockMoved
from examples.resources.stock import Pool


@handler("stock.moved", queue="stock")
def move_stock(movement: StockMoved, ctx: Context, pool: Pool) -> dict[str, int]:
    row = (ctx.idempotency_key, movement.article, movement.pieces)
    with pool.transaction() as connection:
        connection.execute("INSERT INTO movements VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)
        query = "SELECT sum(pieces) FROM movements WHERE article = ?"
        (pieces,) = connection.execute(query, (movement.article,)).fetchone()
    return {"pieces": pieces}
