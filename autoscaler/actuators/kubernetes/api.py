"""One request, or one watch, of the API server: JSON in, JSON out, and errors that name what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.client.rest import RESTResponse
from kubernetes.aio.config import ConfigException

from core.errors import ActuatorError

Json = dict[str, Any]

_METHODS: Final = {"get": "GET", "list": "GET", "watch": "GET", "create": "POST", "update": "PUT", "patch": "PATCH"}
_CONNECT_TIMEOUT = 3.0  # seconds
# aiohttp does not wait for the TLS farewell of requests that were cancelled; the loop must not close before.
_FAREWELL = 0.1
# A watch that the server neither feeds nor ends in time is given up this number of seconds later.
_WATCH_GRACE = 5.0


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object, as RBAC writes it. group: "" for the core. sub: a subresource."""

    group: str
    version: str
    plural: str
    sub: str = ""

    def path(self, namespace: str, name: str) -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return "/".join(part for part in (root, "namespaces", namespace, self.plural, name, self.sub) if part)

    def __str__(self) -> str:
        return (f"{self.plural}/{self.sub}" if self.sub else self.plural) + (f".{self.group}" if self.group else "")


class ApiFailure(ActuatorError):
    """The API server refused, or gave no answer in time. status: the HTTP status, or 0 without an answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """The API server, for one namespace. reload: reads the credentials again; called when the server no longer takes them."""

    def __init__(self, client: ApiClient, namespace: str, reload: Callable[[], Awaitable[None]] | None = None) -> None:
        self._client = client
        self._reload = reload
        self.namespace = namespace

    async def close(self) -> None:
        await self._client.close()
        await asyncio.sleep(_FAREWELL)

    async def call(
        self,
        verb: str,
        of: Resource,
        name: str = "",
        body: Json | None = None,
        query: Mapping[str, str] | None = None,
        *,
        timeout: float,
    ) -> Json:
        """Ask once. timeout: seconds in which the whole answer must be here. Raises ApiFailure."""
        limit = aiohttp.ClientTimeout(total=timeout, sock_connect=_CONNECT_TIMEOUT)
        try:
            async with asyncio.timeout(timeout):  # the credentials' loading included
                answer = await self._send(verb, of, name, body, query, limit)
                content = await _whole(answer)
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError, ConfigException) as error:
            raise _no_answer(verb, of, name, error) from error
        if answer.status >= 300:
            raise await self._refused(verb, of, name, answer, content)
        return _object(content)

    async def watch(self, of: Resource, query: Mapping[str, str], seconds: int) -> AsyncGenerator[Json, None]:
        """Events as they come; ends after `seconds`. Raises ApiFailure."""
        limit = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT, sock_read=seconds + _WATCH_GRACE)
        asked = {**query, "watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        answer = None
        try:
            async with asyncio.timeout(seconds + _WATCH_GRACE):
                answer = await self._send("watch", of, "", None, asked, limit)
            if answer.status >= 300:
                raise await self._refused("watch", of, "", answer, await _whole(answer))
            async for line in answer.response.content:
                yield _event(_object(line))
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError, ConfigException) as error:
            raise _no_answer("watch", of, "", error) from error
        finally:
            if answer is not None:
                _end(answer)

    async def _send(
        self, verb: str, of: Resource, name: str, body: Json | None, query: Mapping[str, str] | None, limit: aiohttp.ClientTimeout
    ) -> RESTResponse:
        headers = {"Accept": "application/json"}
        if verb == "patch":
            headers["Content-Type"] = "application/merge-patch+json"
        method, url, headers, sent, _ = await self._client.param_serialize(
            _METHODS[verb],
            of.path(self.namespace, name),
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            return await self._client.call_api(method, url, header_params=headers, body=sent, _request_timeout=limit)
        except ApiException as error:  # a body that it cannot send
            raise ApiFailure(0, f"{verb} {of} {name}: {error}") from error

    async def _refused(self, verb: str, of: Resource, name: str, answer: RESTResponse, content: bytes) -> ApiFailure:
        if answer.status == 401 and self._reload is not None:
            await self._reload()
        return _failure(verb, of, name, self.namespace, answer.status, _said(content))


async def _whole(answer: RESTResponse) -> bytes:
    try:
        return bytes(await answer.read())
    finally:
        _end(answer)


def _end(answer: RESTResponse) -> None:
    """A connection whose answer was not read to its end is cut off: a TLS farewell would outlive `close()`."""
    connection = answer.response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    answer.response.close()


def _object(content: bytes) -> Json:
    """Raises ValueError for what is not a JSON object."""
    parsed = orjson.loads(content)
    if not isinstance(parsed, dict):
        raise ValueError(f"not a JSON object: {content[:100]!r}")  # noqa: TRY004 - a wrong value, not a wrong use
    return parsed


def _event(event: Json) -> Json:
    if event.get("type") == "ERROR":
        status = event.get("object") or {}
        raise ApiFailure(int(status.get("code") or 0), f"the watch was ended: {status.get('message')}")
    return event


def _said(content: bytes) -> str:
    try:
        return str(_object(content).get("message") or "")
    except ValueError:
        return content[:200].decode("utf-8", "replace")


def _no_answer(verb: str, of: Resource, name: str, error: BaseException) -> ApiFailure:
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    return ApiFailure(0, f"the API server did not answer ({verb} {of} {name}".rstrip() + f"): {what}")


def _failure(verb: str, of: Resource, name: str, namespace: str, status: int, said: str) -> ApiFailure:
    what = f"{verb} {of} {name}".rstrip()
    if status == 403 and " cannot " in said:  # RBAC's words; a quota or an admission policy has others
        group = of.group or '""'
        role = f'apiGroups: [{group}], resources: ["{of.plural}{"/" + of.sub if of.sub else ""}"], verbs: ["{verb}"]'
        return ApiFailure(403, f"not allowed to {what} in namespace {namespace}: add to the controller's Role {role}. ({said})")
    if status == 401:
        return ApiFailure(401, f"the API server does not know who asks ({what}): renew the token or the client certificate")
    return ApiFailure(status, f"the API server refused to {what}: {status} {said}")
