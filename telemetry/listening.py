"""Sockets that programs listen on, and the error where one cannot be opened."""

from __future__ import annotations

import errno
import socket

from core.errors import SettingsError


def bound(setting: str, host: str, port: int) -> list[socket.socket]:
    """A socket for each address of `host`, bound and not listening yet: no client is let in before the program can answer.

    setting: the first part of the names of the two settings, such as HEADRACE or HEADRACE_PROBE. Raises SettingsError.
    """
    found: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)):
            one = socket.socket(family, kind, protocol)
            found.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # 0.0.0.0 and :: are two addresses
            one.bind(address)
    except OSError as error:
        for one in found:
            one.close()
        raise cannot_listen(setting, host, port, error) from None
    return found


def cannot_listen(setting: str, host: str, port: int, error: OSError) -> SettingsError:
    """The error in one line that names the setting and the remedy."""
    if error.errno == errno.EADDRINUSE:
        return SettingsError(f"{setting}_PORT={port} is taken; give another one, or 0 for any")
    if error.errno == errno.EACCES:
        return SettingsError(f"{setting}_PORT={port} is not for everybody; give one above 1023, or 0 for any")
    return SettingsError(f"{setting}_HOST={host}, {setting}_PORT={port}: {error.strerror}; give an address of this machine")
