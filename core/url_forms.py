"""The allowed forms of a URL of each scheme, so that one that can never work stops the start.

No error says a part of the URL: where a password has a special character that is not written as %XX, any part of the URL may be a
part of the password. The adapters (`adapters/`) read what passes here; a test feeds both with the same odd URLs.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

Value = Callable[[str], bool]  # whether a parameter may have this value
_ESCAPE = "it is not a URL; in user and password, write special characters as %40 (@), %2F (/), %3A (:), %3F (?), %23 (#)"
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?P<name>(?:{_LABEL}\.)*{_LABEL}\.?)(?::(?P<port>[0-9]{{1,5}}))?")
_HOST_6 = re.compile(r"\[(?P<name>[0-9A-Fa-f:.]+)\](?::(?P<port>[0-9]{1,5}))?")
_MOST_HOST, _MOST_VHOST = 253, 255  # bytes, of DNS and of AMQP's short strings
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _like(pattern: str) -> Value:
    return lambda text: re.fullmatch(pattern, text) is not None


def _base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except ValueError:
        return False


_SOME, _NUMBER, _SWITCH = _like(r".+"), _like(r"[0-9]{1,9}"), _like(r"true|false|yes|no|1|0")


@dataclass(frozen=True)
class Form:
    """The part after `scheme://[login@]`. path: named as `shape` in errors. params: None takes any. several: hosts, with commas."""

    shape: str
    path: Value
    params: Mapping[str, Value] | None = field(default_factory=dict)
    several: bool = False


def _vhost(path: str) -> bool:
    return len(unquote(path[1:]).encode()) <= _MOST_VHOST


# Many hosts give out URLs with it; Headrace has its own.
_AMQP = {"heartbeat": _NUMBER}
# aiormq's: which servers are trusted, and the client's own certificate.
_AMQPS = _AMQP | {
    **dict.fromkeys(("cafile", "capath", "certfile", "keyfile"), _SOME),
    "cadata": _base64,
    "no_verify_ssl": _like("[01]"),
}
# redis-py's, but for those that Headrace sets itself (timeouts, retries, protocol) and that would make another client of it.
_REDIS = {"db": _NUMBER, "client_name": _like(r"[!-~]+"), "health_check_interval": _NUMBER, "socket_keepalive": _SWITCH}
_REDISS = _REDIS | {
    **dict.fromkeys(("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password"), _SOME),
    "ssl_cert_reqs": _like("none|optional|required"),
    "ssl_check_hostname": _SWITCH,
}
_AMQP_SHAPE = "host:port/vhost, the vhost of at most 255 bytes"
_REDIS_SHAPE = "host:port/database, the database a number"
_CLUSTER = Form("host:port,host:port without a database", _like(r"/?0?"), several=True)
_SENTINEL = Form(
    "host:port,host:port/service/database", _like(r"/[^/]+(/[0-9]{0,9})?"), {"sentinel_login": _like("yes|no")}, several=True
)
_HTTP = Form("host:port", lambda _: True, None)
FORMS = {
    "amqp": Form(_AMQP_SHAPE, _vhost, _AMQP),
    "amqps": Form(_AMQP_SHAPE, _vhost, _AMQPS),
    "redis": Form(_REDIS_SHAPE, _like(r"(/[0-9]{0,9})?"), _REDIS),
    "rediss": Form(_REDIS_SHAPE, _like(r"(/[0-9]{0,9})?"), _REDISS),
    "redis+cluster": _CLUSTER,
    "rediss+cluster": _CLUSTER,
    "redis+sentinel": _SENTINEL,
    "rediss+sentinel": _SENTINEL,
    "http": _HTTP,
    "https": _HTTP,
}


def check(url: str) -> None:
    """Raises ValueError, without any part of the URL. Its scheme is one that a setting takes."""
    scheme, _, rest = url.partition(":")
    if _CONTROL.search(url) or not _is_text(url):
        raise ValueError("it has a control character, or is not UTF-8 text")
    if scheme in ("memory", "none"):
        if rest not in ("", "//"):
            raise ValueError(f"write `{scheme}:`, and nothing behind it")
    elif scheme == "sqlite":
        if not re.fullmatch(r"///[^?#]*[^?#/]", rest):
            raise ValueError("it names no file, or more; write sqlite:///relative.db or sqlite:////absolute.db")
    else:
        _check_server(url, FORMS[scheme], f"{scheme}://user:password@")


def _check_server(url: str, form: Form, begin: str) -> None:
    write = f"write {begin}{form.shape}"
    try:
        parts = urlsplit(url)
    except ValueError:  # the standard library's own would show parts of a password
        raise ValueError(_ESCAPE) from None
    if not parts.netloc:
        raise ValueError(f"a host is missing; {write}")
    if " " in url or "#" in url or "%00" in parts.netloc + parts.path or "@" in parts.path + parts.query:
        raise ValueError(_ESCAPE)
    login, _, hosts = parts.netloc.rpartition("@")
    if any(c in login for c in r"\[]") or unicodedata.normalize("NFKC", login) != login:  # not every library reads these alike
        raise ValueError(_ESCAPE)
    for host in hosts.split(",") if form.several else [hosts]:
        _check_host(host, write)
    if not form.path(parts.path):
        raise ValueError(f"its path cannot be used; {write}")
    if form.params is not None:
        _check_params(parts.query, form.params)


def _check_host(text: str, write: str) -> None:
    if not text:
        raise ValueError(f"a host is missing; {write}")
    match = _HOST.fullmatch(text) or _HOST_6.fullmatch(text)
    if match is None or len(match["name"]) > _MOST_HOST or (text[0] == "[" and not _is_address(match["name"])):
        raise ValueError(f"a host or a port cannot be used; {write}, with special characters before the @ as %XX")
    if match["port"] and not 0 < int(match["port"]) < 65_536:
        raise ValueError(f"a port is not between 1 and 65535; {write}")


def _check_params(query: str, allowed: Mapping[str, Value]) -> None:
    given = parse_qsl(query, keep_blank_values=True)
    if len({name for name, _ in given}) < len(given):
        raise ValueError("a parameter after ? stands twice; give it once")
    for name, value in given:
        if name not in allowed:
            raise ValueError(f"a parameter after ? is unknown here; allowed: {', '.join(allowed) or 'none'}")
        if not allowed[name](value):
            raise ValueError(f"the parameter {name} cannot have this value")


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_text(url: str) -> bool:
    try:
        url.encode()
    except UnicodeEncodeError:  # the environment had bytes that are no UTF-8
        return False
    return True
