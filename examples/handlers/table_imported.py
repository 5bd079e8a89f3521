"""A permanent failure: an error of the input, which a retry meets again.

Other errors, such as a file that is missing, are retried by the contract's policy.
"""

from __future__ import annotations

import csv
from decimal import Decimal, InvalidOperation

from consumer import Context, Permanent, handler
from examples.contracts.table_imported import TableImported
from examples.resources.inbox import Inbox


@handler("table.imported", queue="tables")
def import_table(table: TableImported, ctx: Context, inbox: Inbox) -> dict[str, str]:
    """The sum of the column `amount`. A plain function, because it blocks: it runs in a thread."""
    total = Decimal(0)
    with (inbox.folder / table.name).open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        for row in rows:
            ctx.check()
            try:
                total += Decimal(row["amount"])
            except (KeyError, TypeError, InvalidOperation):
                raise Permanent(f"{table.name}, line {rows.line_num}: no number in the column `amount`") from None
    return {"total": str(total)}
