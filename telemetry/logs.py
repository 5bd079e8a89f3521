"""Logs: structlog, JSON when standard error is not a terminal; the standard library's loggers take the same way."""

from __future__ import annotations

import functools
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from itertools import islice
from typing import Any, Literal

from core.masking import is_secret, masked, masked_beginning
from core.text import text_of
from telemetry import tracebacks

# structlog imports rich where that is installed, for tracebacks with local variables, which are not shown here: 85 modules,
# an eighth of the CPU time in which a consumer starts.
_rich = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]
try:
    import structlog
finally:
    del sys.modules["rich"]
    if _rich is not None:
        sys.modules["rich"] = _rich


class _Console:
    """The parts of rich that a handler's own `structlog.dev.RichTracebackFormatter` asks for: imported when it does."""

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        return import_module("rich.console").Console(*arguments, **options)


class _Traceback:
    @staticmethod
    def from_exception(*arguments: Any, **options: Any) -> Any:
        return import_module("rich.traceback").Traceback.from_exception(*arguments, **options)


vars(structlog.dev).update(Console=_Console, Traceback=_Traceback)

# Their info lines would be a line a request, or repeat what we say ourselves.
_QUIET = {
    "uvicorn.access": logging.ERROR,
    "aiormq": logging.CRITICAL,
    "aio_pika": logging.CRITICAL,
    "aiosmtplib": logging.WARNING,
    "asyncio": logging.WARNING,
}

# Characters of one field of a line: an error may carry a whole answer of a server.
MOST_TEXT = 2000
# Of a traceback on a terminal, the end.
_MOST_TRACEBACK = 8000
# Items of one list or dict, and how deep they are looked into.
_MOST_ITEMS, _MOST_DEPTH = 50, 4
# Characters of all fields of a line, about, and of a field's name.
_MOST_LINE, _MOST_NAME = 16_000, 200
# The fields of every line; written last, and never left out for the fields that it was given.
_OURS = ("event", "level", "logger", "timestamp", "program", "exc_info")
# Beyond, and for what is no number, JSON has none: IEEE 754's greatest.
_MOST_NUMBER = sys.float_info.max


def configure(level: str, form: Literal["auto", "json", "console"], program: str) -> None:
    """Set up logging for this process. `program` is in every line."""
    json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add(program),
    ]
    render: list[structlog.typing.Processor] = (
        [structlog.processors.ExceptionRenderer(_exceptions), structlog.processors.JSONRenderer()]
        if json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_traceback)]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=_unfailing(structlog.make_filtering_bound_logger(logging.getLevelName(level.upper()))),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _tidy, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)
    # The interpreter's own last words would be plain text, and unbounded.
    sys.excepthook = lambda kind, error, trace: _last_words((kind, error, trace))
    threading.excepthook = lambda args: _last_words((args.exc_type, args.exc_value, args.exc_traceback))


def get(name: str) -> Any:
    """A structlog logger: `log.info("an event", key=value)`."""
    return structlog.get_logger(name)


def _unfailing(logger: type[Any]) -> type[Any]:
    """The same class, of which no method raises: a line of the log that is wrong must fail no job."""

    def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def log(self: Any, *arguments: Any, **fields: Any) -> Any:
            try:
                return method(self, *arguments, **fields)
            except Exception as error:
                said = f"a line of the log cannot be written: {text_of(error, MOST_TEXT)}"
                return self._proxy_to_logger("error", said, event_was=arguments[:1])

        return log

    names = ("debug", "info", "warning", "warn", "error", "critical", "fatal", "exception", "log")
    return type(logger.__name__, (logger,), {name: guarded(getattr(logger, name)) for name in names})


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Every line is written: its values may be broken, as may a library's own call."""

    def format(self, record: logging.LogRecord) -> str:
        try:
            return super().format(record)
        except BaseException as error:  # RecursionError too, which logging would raise again
            said = f"a line of the log cannot be written, at {record.pathname}:{record.lineno}: {text_of(error, MOST_TEXT)}"
            return super().format(logging.LogRecord(record.name, logging.ERROR, record.pathname, record.lineno, said, (), None))


def _tidy(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Only what every renderer takes: texts, numbers, lists and dicts; bounded, and without secrets."""
    plain = _Plain()
    ours = {name: value if name == "exc_info" else plain.of(name, value, 0) for name, value in event.items() if name in _OURS}
    fields = islice(((name, value) for name, value in event.items() if name not in _OURS), _MOST_ITEMS)
    return {plain.text(name, _MOST_NAME): plain.of(name, value, _MOST_DEPTH) for name, value in fields} | ours


class _Plain:
    """The fields of one line."""

    def __init__(self) -> None:
        self._left = _MOST_LINE

    def of(self, name: str, value: Any, depth: int) -> Any:
        if is_secret(name) and not isinstance(value, bool | Mapping | list | tuple | set | frozenset):
            return "***"
        try:
            return self._of(value, depth)
        except BaseException as error:  # its own code raises
            return f"({type(value).__qualname__}: {type(error).__name__} is raised by it)"

    def _of(self, value: Any, depth: int) -> Any:
        if value is None or value is True or value is False:
            return value
        if type(value) in (int, float) and -_MOST_NUMBER < value < _MOST_NUMBER:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, BaseException):
            return self.text(text_of(value, MOST_TEXT))
        if not isinstance(value, Mapping | list | tuple | set | frozenset):
            return self.text(repr(value))
        if not depth or self._left < 0:
            return f"({type(value).__qualname__} of {len(value)})"
        self._left -= _MOST_ITEMS
        if isinstance(value, Mapping):
            several = islice(value.items(), _MOST_ITEMS)
            return {(name := self.text(str(key))): self.of(name, one, depth - 1) for key, one in several}
        return [self.of("", one, depth - 1) for one in islice(value, _MOST_ITEMS)]

    def text(self, text: str, most: int = MOST_TEXT) -> str:
        most = max(20, min(most, self._left))
        self._left -= min(len(text), most)
        return masked(text) if len(text) <= most else masked_beginning(text, most) + "…"


def _exceptions(exc_info: structlog.typing.ExcInfo) -> list[dict[str, Any]]:
    """An exception and those that it came from, as JSON takes them."""
    return tracebacks.as_dicts(exc_info[1])


def _write_traceback(to: Any, exc_info: structlog.typing.ExcInfo) -> None:
    """For a terminal. The usual formatter there, rich's, shows local variables."""
    to.write("\n" + tracebacks.as_text(exc_info[1], _MOST_TRACEBACK))


def _last_words(exc_info: Any) -> None:
    if issubclass(exc_info[0], KeyboardInterrupt):
        return
    get("program").critical("an error that nobody caught", exc_info=exc_info)


def _add(program: str) -> structlog.typing.Processor:
    def add(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.setdefault("program", program)
        return event

    return add


def brief(error: BaseException) -> str:
    """An error's own text, one line and short."""
    return text_of(error, 300).replace("\n", " ")


class OncePer:
    """Lets one line through each `seconds`, so that a fault that hits every job does not fill the log."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = float("-inf")

    def __call__(self, now: float) -> bool:
        """`now`: steady seconds. True at most once a period."""
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True
