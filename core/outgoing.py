"""How a program reaches servers: whose certificates it trusts, and which proxy a URL goes by.

The variables of proxies have no prefix of ours, since every program of a machine shares them: HTTP_PROXY, HTTPS_PROXY and NO_PROXY,
in capitals or small. Only what goes to an operator's own servers over HTTP asks here; the API server and the ports of pods are
reached directly.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from core.errors import SettingsError

CA_FILE = "HEADRACE_CA_FILE"
# OpenSSL's words for a chain that ends with an unknown authority.
_UNKNOWN = ("local issuer certificate", "self-signed certificate", "self signed certificate")
Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def trusting(ca_file: str) -> ssl.SSLContext:
    """For clients: the system's authorities, and those of a file; of none where its name is empty. To be shared, not to be changed.

    Raises ValueError where the file holds no certificates in PEM.
    """
    if not ca_file:
        return _loaded("", 0)
    try:
        changed = Path(ca_file).stat().st_mtime_ns
        return _loaded(ca_file, changed)
    except ssl.SSLError:
        raise ValueError(f"it holds no certificate in PEM (-----BEGIN CERTIFICATE-----); {_REMEDY}") from None
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}; {_REMEDY}") from None


_REMEDY = "name a file with the certificates of your authorities, in the chart by caBundle"


@lru_cache(maxsize=4)
def _loaded(ca_file: str, _changed: int) -> ssl.SSLContext:
    """The system's 140 authorities take 30 ms to load: not for each connection."""
    return private(ca_file)


def private(ca_file: str) -> ssl.SSLContext:
    """One to be changed, for a client with a certificate of its own. Raises OSError."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


def untrusted(error: BaseException | None) -> str:
    """The remedy for a refused certificate, to follow the error's own text; else empty."""
    for one in _chain(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            # By its text: aiohttp derives an error of its own from this one, without the code.
            if "mismatch" in str(one):
                return " (its certificate is for another name: write in the URL a name that the certificate has)"
            if any(said in str(one) for said in _UNKNOWN):  # others, as of one that has expired, say what to mend themselves
                return f" (nobody whom we trust has signed its certificate: name the file with your authority's in {CA_FILE})"
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


@dataclass(frozen=True)
class Outgoing:
    """Of HTTP. proxies: by `http`, `https` and `no`, as the environment gives them."""

    ca_file: str = ""
    proxies: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, ca_file: str) -> Outgoing:
        """With the proxies of the environment."""
        return cls(ca_file, {name: url for name, url in getproxies_environment().items() if name in ("http", "https", "no")})

    def context(self) -> ssl.SSLContext | bool:
        """The `ssl` argument for aiohttp: True is its own, of the system's authorities. Raises ValueError."""
        return trusting(self.ca_file) if self.ca_file else True

    def proxy(self, url: str) -> str | None:
        """The proxy for a URL; None: it is reached directly. Raises SettingsError for one that is none, without its URL."""
        parts = urlsplit(url)
        found = self.proxies.get(parts.scheme)
        if not found or not parts.hostname or _direct(parts.hostname, parts.port, self.proxies.get("no", "")):
            return None
        _check(parts.scheme, found)
        return found


def _direct(host: str, port: int | None, listed: str) -> bool:
    """This machine itself; and what NO_PROXY lists: names with all that stand before them, one port of a name, addresses, networks
    as in 10.0.0.0/8, and `*`."""
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    for entry in (one.strip().lower() for one in listed.split(",")):
        name = entry.removesuffix(f":{port}").removeprefix("*").removeprefix(".")
        if entry == "*" or (name and f".{host}".endswith(f".{name}")) or (address is not None and _within(address, entry)):
            return True
    return False


def _address(host: str) -> Ip | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _within(address: Ip, network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:  # a name
        return False


def _check(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(f"{name.upper()}_PROXY=(hidden) is no proxy that can be used: write http://host:port, or leave it out")
