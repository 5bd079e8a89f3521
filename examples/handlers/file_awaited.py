"""Retry later: the handler says when to try again.

`await asyncio.sleep` in the handler would hold a slot of the consumer, and a restart would forget the wait. A retry holds
nothing: the broker keeps the delivery until it is due.
"""

from __future__ import annotations

import asyncio

from consumer import Context, RetryLater, handler
from examples.contracts.file_awaited import FileAwaited
from examples.resources.inbox import Inbox


@handler("file.awaited", queue="files")
async def wait_for_file(awaited: FileAwaited, _: Context, inbox: Inbox) -> dict[str, int]:
    path = inbox.folder / awaited.name
    try:
        found = await asyncio.to_thread(path.stat)
    except FileNotFoundError:
        raise RetryLater(inbox.poll, f"{awaited.name} is not there yet") from None
    return {"bytes": found.st_size}
