"""The gateway's API, as the command line asks it: every refusal becomes a clear line."""

from __future__ import annotations

from typing import Any

import aiohttp

from jobs.errors import HeadraceError


class GatewayError(HeadraceError):
    """The gateway cannot be reached, or refused; the message is for a person."""


class Gateway:
    """An async context manager around one HTTP session. url: such as http://127.0.0.1:8080."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Gateway:
        self._session = aiohttp.ClientSession(self._url, timeout=aiohttp.ClientTimeout(30.0))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, method: str, path: str, **more: Any) -> Any:
        """The JSON of the answer, or None where there is none. Raises GatewayError."""
        status, _, body = await self.raw(method, path, **more)
        if status >= 400:
            raise GatewayError(f"{body.get('title', status)}: {body.get('detail', '')}" if body else f"status {status}")
        return body

    async def raw(self, method: str, path: str, **more: Any) -> tuple[int, float, Any]:
        """Status, Retry-After in seconds, and the JSON. Raises GatewayError where nobody answers."""
        assert self._session is not None  # noqa: S101 - entered before
        try:
            async with self._session.request(method, path, **more) as answer:
                body = await answer.json(content_type=None) if answer.status != 204 else None
                return answer.status, float(answer.headers.get("Retry-After", "0")), body
        except (aiohttp.ClientError, TimeoutError) as error:
            raise GatewayError(
                f"no answer from {self._url}: {error or type(error).__name__}. Is it running? `headrace up`"
            ) from None
