"""The gateway's API, as the command line asks it: every refusal becomes a clear line."""

from __future__ import annotations

import os
import re
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import orjson

from core.clock import SystemClock
from core.errors import HeadraceError, SettingsError
from core.outgoing import Outgoing, untrusted
from core.settings import TlsSettings, load

KEY_VARIABLE = "HEADRACE_API_KEY"
_LONGEST_ASKED = 60.0  # seconds; a gateway that asks for a longer pause is asked again before
_USABLE = re.compile(r"[\x21-\x7e]+", re.ASCII)  # what a header can carry


class GatewayError(HeadraceError):
    """The gateway cannot be reached, or refused; the message is for a person."""


class NoAnswer(GatewayError):
    """No server answers there, for now: the same may be asked again."""


class NotAllowed(GatewayError):
    """The gateway wants a key, another one, or one with another scope: asking again changes nothing."""


class Address(NamedTuple):
    """Where the gateway is, and who asks. key_file: a file that holds an API key, before the one of the environment."""

    url: str
    key_file: Path | None = None

    def key(self) -> str:
        """The API key, empty where none is given. Raises GatewayError for one that cannot be used; never with it."""
        if self.key_file is None:
            key = os.environ.get(KEY_VARIABLE, "")
        else:
            try:
                key = self.key_file.read_text(encoding="utf-8-sig").strip()  # what is not ASCII is refused below
            except OSError as error:
                raise GatewayError(f"--api-key-file {self.key_file}: {error.strerror}") from None
            except UnicodeDecodeError:
                key = "\n"
        if (key or self.key_file is not None) and _USABLE.fullmatch(key) is None:
            raise GatewayError(f"{self.source}: this is not an API key, which is one word of ASCII characters")
        return key

    def base(self) -> str:
        """The URL without a slash at its end. Raises GatewayError for what is not scheme, host and port."""
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port that is not a number
            usable = False
        if not usable or parts.path.strip("/") or parts.query or parts.fragment:
            raise GatewayError(f"--url {self.url}: write scheme, host and port, as in http://127.0.0.1:8080")
        return self.url.rstrip("/")

    @property
    def source(self) -> str:
        """Where the key comes from, for a message."""
        return KEY_VARIABLE if self.key_file is None else f"--api-key-file {self.key_file}"


def said(status: int, problem: Any) -> str:
    """A problem document in a line: its title and its detail, or the status where there is none."""
    if not isinstance(problem, dict):
        return f"status {status}"
    return ": ".join(str(problem[name]) for name in ("title", "detail") if problem.get(name)) or f"status {status}"


def _json(body: bytes) -> Any:
    """None for what is no JSON: something between may answer in the gateway's place."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _seconds(retry_after: str) -> float:
    """Of a Retry-After: seconds, or an HTTP date (RFC 9110, 10.2.3); a minute at most, and 0 for anything else."""
    try:
        if retry_after.strip().isdecimal():
            return min(float(retry_after), _LONGEST_ASKED)
        due = parsedate_to_datetime(retry_after)
        return min(max(0.0, due.timestamp() - SystemClock().wall()), _LONGEST_ASKED)
    except ValueError:
        return 0.0


def _outgoing(url: str) -> tuple[Outgoing, str | None]:
    """And the proxy for the URL. Raises GatewayError."""
    try:
        outgoing = Outgoing.of(load(TlsSettings).ca_file)
        return outgoing, outgoing.proxy(url)
    except SettingsError as error:
        raise GatewayError(str(error)) from None


class Gateway:
    """An async context manager around one HTTP session."""

    def __init__(self, address: Address) -> None:
        self._url = address.base()
        self._address = address
        self._key = address.key()
        self._outgoing, self._proxy = _outgoing(self._url)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Gateway:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        connector, timeout = aiohttp.TCPConnector(ssl=self._outgoing.context()), aiohttp.ClientTimeout(30.0)
        self._session = aiohttp.ClientSession(self._url, connector=connector, timeout=timeout, headers=headers, proxy=self._proxy)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, method: str, path: str, **more: Any) -> Any:
        """The JSON of the answer, or None where there is none. Raises GatewayError."""
        status, _, body = await self.raw(method, path, **more)
        if status >= 400:
            raise GatewayError(said(status, body))
        return body

    async def raw(self, method: str, path: str, **more: Any) -> tuple[int, float, Any]:
        """Status, Retry-After in seconds, and the JSON. Raises NoAnswer, and NotAllowed for 401 and 403."""
        assert self._session is not None  # noqa: S101 - entered before
        try:
            async with self._session.request(method, path, **more) as answer:
                body = _json(await answer.read())
                if answer.status in (401, 403):
                    raise NotAllowed(self._refusal(answer.status, body if isinstance(body, dict) else {}))
                if body is None and answer.status in (200, 202):
                    raise GatewayError(f"{self._url} answers {answer.status} without JSON: is it Headrace's gateway?")
                return answer.status, _seconds(answer.headers.get("Retry-After", "0")), body
        except (aiohttp.ClientError, TimeoutError) as error:
            remedy = untrusted(error) or ". Is it running? `headrace up`"
            raise NoAnswer(f"no answer from {self._url}: {error or type(error).__name__}{remedy}") from None

    def _refusal(self, status: int, problem: dict[str, Any]) -> str:
        if status == 401 and not self._key:
            return f"{self._url} asks for an API key: put one into {KEY_VARIABLE}, or name its file with --api-key-file"
        if status == 401:
            return f"{self._url} does not know the API key of {self._address.source}"
        return f"the API key of {self._address.source} is not enough: {problem.get('detail', 'it lacks a scope')}"
