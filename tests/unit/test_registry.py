"""Handlers are found, and what is written wrongly is refused at start with the remedy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from consumer import Context, handler, resource
from consumer.registry import Registry
from consumer.resources import Resources
from core.catalogue import Catalogue
from core.errors import ContractError
from core.model import Contract


class Thing(BaseModel):
    n: int


class Client:
    closed = False


class Other:
    pass


CATALOGUE = Catalogue([Contract("thing.done", Thing, ("one", "two"))])


@handler("thing.done", queue="one")
async def right(thing: Thing, ctx: Context, client: Client) -> None: ...


@handler("thing.done", queue="two")
def plain(thing: Thing, ctx: Context) -> None: ...


@resource
async def open_client() -> AsyncIterator[Client]:
    client = Client()
    yield client
    client.closed = True


@resource
def open_other() -> Iterator[Other]:
    yield Other()
    raise RuntimeError("cannot be closed")


@handler("thing.don", queue="one")
def unknown(thing: Thing, ctx: Context) -> None: ...


@handler("thing.done", queue="three")
def nowhere(thing: Thing, ctx: Context) -> None: ...


@handler("thing.done", queue="one")
def lonely(thing: Thing) -> None: ...


@handler("thing.done", queue="one")
def mistaken(thing: Client, ctx: Context) -> None: ...


@handler("thing.done", queue="one")
def needy(thing: Thing, ctx: Context, nothing: int) -> None: ...


def test_handlers_and_what_they_need() -> None:
    registry = Registry(CATALOGUE, [right, plain, open_client, open_other])
    found = registry.find("one", "thing.done")
    assert found is not None
    assert (found.is_coroutine, found.injected) == (True, {"client": Client})
    assert registry.needs(["one", "two"]) == {Client}
    assert registry.needs(["two"]) == set()
    assert registry.missing(["one", "two"]) == []
    assert Registry(CATALOGUE, []).missing(["two"]) == [("two", "thing.done")]


@pytest.mark.parametrize(
    ("functions", "said"),
    [
        ([unknown], "did you mean 'thing.done'"),
        ([nowhere], "goes to one, two, not to queue 'three'"),
        ([lonely], r"called with \(payload, ctx\)"),
        ([mistaken], "annotated otherwise than Thing"),
        ([needy], "no @resource provides nothing: int"),
        ([right, right, open_client], "two handlers take"),
        ([open_client, open_client], "two resources provide"),
    ],
)
def test_what_is_written_wrongly_is_refused(functions: list[Callable[..., Any]], said: str) -> None:
    with pytest.raises(ContractError, match=said):
        Registry(CATALOGUE, functions)


def test_a_resource_says_what_it_yields() -> None:
    with pytest.raises(ContractError, match="annotate what it yields"):

        @resource
        def opener() -> Client:
            return Client()


async def test_resources_are_opened_once_and_closed() -> None:
    registry = Registry(CATALOGUE, [right, open_client, open_other])
    async with Resources(registry.openers, registry.needs(["one"])) as resources:
        client = resources.arguments({"client": Client, "again": Client})
        assert client["client"] is client["again"]
        assert not client["client"].closed
    assert client["client"].closed
