"""Which function handles what. Found by looking into packages (core/project.py names them); a handler is one file there."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import typing
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

from core.catalogue import Catalogue
from core.errors import ContractError, UnknownJobType
from core.model import Contract

Function = TypeVar("Function", bound=Callable[..., Any])
_MARK = "__headrace__"


@dataclass(frozen=True, slots=True)
class HandlerMark:
    job_type: str
    queue: str


@dataclass(frozen=True, slots=True)
class ResourceMark:
    provides: type


@dataclass(frozen=True, slots=True)
class Handler:
    """One handler. injected: parameter name → the type of the resource that it is given."""

    contract: Contract
    queue: str
    function: Callable[..., Any]
    is_coroutine: bool
    injected: dict[str, type]


def handler(job_type: str, *, queue: str) -> Callable[[Function], Function]:
    """Mark a coroutine or a plain function as the handler of a job type in one queue.

    It is called with the payload and a `Context`; each further parameter gets the resource of its annotated type.
    Its return value is the result, if JSON. A plain function runs in a thread.
    """

    def mark(function: Function) -> Function:
        setattr(function, _MARK, HandlerMark(job_type, queue))
        return function

    return mark


def resource(opener: Function) -> Function:
    """Mark a generator, async or plain, as the opener of what it yields: once a process, closed at the end.

    Its return annotation, `AsyncIterator[T]` or `Iterator[T]`, says which type it provides.
    """
    returns = typing.get_type_hints(opener).get("return")
    if typing.get_origin(returns) not in (AsyncIterator, Iterator) or not isinstance(typing.get_args(returns)[0], type):
        raise ContractError(f"resource {_where(opener)}: annotate what it yields, as in `-> AsyncIterator[Client]`")
    setattr(opener, _MARK, ResourceMark(typing.get_args(returns)[0]))
    return opener


class Registry:
    """The handlers of this project, and the openers of what they need."""

    def __init__(self, catalogue: Catalogue, functions: Iterable[Callable[..., Any]]) -> None:
        """Raises ContractError for a handler that fits no contract, a second one, or a parameter that nothing provides."""
        marked = [(function, getattr(function, _MARK)) for function in functions]
        self.catalogue = catalogue
        self.openers: dict[type, Callable[..., Any]] = {}
        for function, mark in marked:
            if isinstance(mark, ResourceMark):
                _refuse_second(self.openers, mark.provides, function, "resources provide")
                self.openers[mark.provides] = function
        self._handlers: dict[tuple[str, str], Handler] = {}
        for function, mark in marked:
            if isinstance(mark, HandlerMark):
                key = (mark.queue, mark.job_type)
                _refuse_second({k: h.function for k, h in self._handlers.items()}, key, function, "handlers take")
                self._handlers[key] = self._handler(function, mark)

    @classmethod
    def of(cls, catalogue: Catalogue, *packages: ModuleType) -> Registry:
        """Import every module of `packages` and take each marked function that is defined in it."""
        functions: dict[int, Callable[..., Any]] = {}
        found = (info for package in packages for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."))
        for info in found:
            module = importlib.import_module(info.name)
            functions.update((id(value), value) for value in vars(module).values() if hasattr(value, _MARK))
        return cls(catalogue, functions.values())

    def find(self, queue: str, job_type: str) -> Handler | None:
        return self._handlers.get((queue, job_type))

    def needs(self, queues: Iterable[str]) -> set[type]:
        """The resource types that the handlers of `queues` take."""
        return {kind for handler in self.handlers(queues) for kind in handler.injected.values()}

    def handlers(self, queues: Iterable[str]) -> list[Handler]:
        """The handlers of `queues`."""
        wanted = set(queues)
        return [handler for handler in self._handlers.values() if handler.queue in wanted]

    def missing(self, queues: Iterable[str]) -> list[tuple[str, str]]:
        """(queue, job type) that the contracts send to `queues`, and that have no handler."""
        wanted = set(queues)
        return [(q, c.name) for c in self.catalogue for q in c.queues if q in wanted and (q, c.name) not in self._handlers]

    def longest_limit(self, queues: Iterable[str]) -> tuple[float, str]:
        """The longest time limit of what `queues` carry, in seconds, and the job type that has it."""
        wanted = set(queues)
        return max(((c.time_limit, c.name) for c in self.catalogue if wanted & set(c.queues)), default=(0.0, ""))

    def _handler(self, function: Callable[..., Any], mark: HandlerMark) -> Handler:
        contract = _contract(self.catalogue, function, mark)
        hints = typing.get_type_hints(function)
        names = list(inspect.signature(function).parameters)
        if len(names) < 2:
            raise ContractError(f"handler {_where(function)}: it is called with (payload, ctx); take both")
        if hints.get(names[0], contract.payload) is not contract.payload:
            raise ContractError(f"handler {_where(function)}: its payload is annotated otherwise than {contract.payload.__name__}")
        injected = {name: hints.get(name, object) for name in names[2:]}
        for name, kind in injected.items():
            if kind not in self.openers:
                raise ContractError(f"handler {_where(function)}: no @resource provides {name}: {getattr(kind, '__name__', kind)}")
        return Handler(contract, mark.queue, function, inspect.iscoroutinefunction(function), injected)


def _contract(catalogue: Catalogue, function: Callable[..., Any], mark: HandlerMark) -> Contract:
    try:
        contract = catalogue[mark.job_type]
    except UnknownJobType as error:
        near = f"; did you mean {error.near[0]!r}?" if error.near else ""
        raise ContractError(f"handler {_where(function)}: {error}{near}") from None
    if mark.queue not in contract.queues:
        raise ContractError(
            f"handler {_where(function)}: {mark.job_type!r} goes to {', '.join(contract.queues)}, not to queue {mark.queue!r}"
        )
    return contract


def _refuse_second(known: dict[Any, Callable[..., Any]], key: Any, function: Callable[..., Any], what: str) -> None:
    if key in known:
        raise ContractError(f"two {what} {key}: {_where(known[key])} and {_where(function)}; remove one")


def _where(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
