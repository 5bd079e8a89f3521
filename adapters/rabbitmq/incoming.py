"""A delivery, read from the channel underneath and made into ours."""

from __future__ import annotations

from typing import Any

from pamqp.header import ContentHeader

from core.model import Reason
from core.ports import Delivery
from core.text import safe
from core.topology import DELAY_LOST, delayed_for

# Headers that dead-lettering adds on the way through the ladder; only its publisher's headers identify a message.
_BROKERS_OWN = ("x-first-death-", "x-last-death-")
_DEATHS = {"delivery_limit": Reason.DELIVERY_LIMIT, "expired": Reason.EXPIRED, "rejected": Reason.REJECTED}
# Characters of one header: a frame holds no more.
_MOST_TEXT = 131_072


async def read(channel: Any) -> tuple[dict[str, Any], bytes]:
    """The frames after a Basic.Deliver: the message's headers as AMQP has them, and as many body frames as its size says."""
    header: ContentHeader = await channel._get_frame()
    left, pieces = header.body_size or 0, []
    while left > 0:
        piece: bytes = (await channel._get_frame()).value
        pieces.append(piece)
        left -= len(piece)
    return header.properties.headers or {}, b"".join(pieces)


def delivery(queue: str, key: str, properties: dict[str, Any], body: bytes, tag: Any) -> Delivery:
    """queue: where it was taken from. key: its routing key. properties: its headers, with the broker's own among them."""
    headers = {
        _safe(name): _safe(value)
        for name, value in properties.items()
        if isinstance(value, str) and not name.startswith(_BROKERS_OWN)
    }
    count = properties.get("x-delivery-count")
    count = count if isinstance(count, int) else 0
    if queue == DELAY_LOST:
        return Delivery(delayed_for(key), headers, body, count, Reason.NO_QUEUE, tag)
    return Delivery(queue, headers, body, count, _death(properties), tag)


def _safe(text: str) -> str:
    return text if "\0" not in text else safe(text, _MOST_TEXT)


def _death(headers: dict[str, Any]) -> Reason | None:
    """Why the broker gave it up: the newest entry of x-death (RabbitMQ, Dead Letter Exchanges)."""
    deaths = headers.get("x-death")
    if not isinstance(deaths, list) or not deaths or not isinstance(deaths[0], dict):
        return None
    return _DEATHS.get(str(deaths[0].get("reason")))
