"""Where the gateway's keys come from: a file, or the files of a folder, read again when they change."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from pathlib import Path

from core.errors import SettingsError
from service.keys import Key, Keyring, parse, unambiguous
from service.settings import GatewaySettings
from telemetry import logs, metrics
from telemetry.supervisor import Beat

_log = logs.get("service.keys")

CHECK_INTERVAL = 2.0  # seconds; Kubernetes takes a minute to bring a changed Secret into a pod, so this adds little
MOST_BYTES = 1_048_576  # of one file: some ten thousand keys, each of which every request is compared with
_NAME = "HEADRACE_API_KEYS"

Stamp = tuple[tuple[str, int, int, int, int], ...] | None


class KeyFiles:
    """Keeps `ring` as the files have it. A mistake in them changes nothing: valid keys stay valid."""

    def __init__(self, path: Path) -> None:
        """path: a file, or a folder whose files are joined, but for those that begin with a dot. Raises SettingsError."""
        self._path = path
        self._seen = _stamp(path)
        self.ring = Keyring(read(path))

    async def watch(self, beat: Beat = lambda: None) -> None:
        """Look again and again: for a Supervisor. In a thread: a folder of the network may hang, and requests must not hang with
        it."""
        self._warn_if_empty()
        while True:
            beat()
            await asyncio.sleep(CHECK_INTERVAL)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Read the files if they have changed. Never raises: a mistake is logged, once a change."""
        seen = _stamp(self._path)  # before reading: a change meanwhile is read in the next round
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self.ring.keys = read(self._path)
        except SettingsError as error:
            metrics.API_KEYS_STALE.set(1)
            _log.error("the API keys cannot be read; those read before stay valid", why=str(error))
            return
        metrics.API_KEYS_STALE.set(0)
        _log.info("API keys read again", keys=len(self.ring.keys), callers=sorted({key.name for key in self.ring.keys}))
        self._warn_if_empty()

    def _warn_if_empty(self) -> None:
        if not self.ring.keys:
            _log.warning("there is no API key: everything but probes and documents is refused", path=str(self._path))


def keys_of(settings: GatewaySettings) -> KeyFiles | None:
    """The keys that the settings ask for; None is open. Raises SettingsError: unusable files, or no setting where others reach
    the gateway."""
    if settings.api_keys == "open":
        return None
    if settings.api_keys:
        return KeyFiles(Path(settings.api_keys))
    if is_loopback(settings.host):
        return None
    raise SettingsError(
        f"{_NAME} is empty, and others can reach HEADRACE_HOST={settings.host}. Name a file or a folder of keys in it (`headrace "
        f"key new` makes a key and its line), or write {_NAME}=open to let everyone in"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`. A name other than localhost may mean any address: no."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read(path: Path) -> tuple[Key, ...]:
    """All keys of a file or a folder. Raises SettingsError that names the file, and the line where there is one."""
    try:
        keys = [key for file in _files(path) for key in parse(_text(file), f"{_NAME}={path}: {file.name}")]
    except OSError as error:
        raise SettingsError(f"{_NAME}={path}: {error.strerror} ({error.filename}); make a line for it: headrace key new") from None
    try:
        return unambiguous(keys)
    except SettingsError as error:
        raise SettingsError(f"{_NAME}={path}: {error}") from None


def _files(path: Path) -> list[Path]:
    """Kubernetes mounts a Secret as links into a folder `..data`, which it swaps for another one: the dot is for that."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if not file.name.startswith(".") and file.is_file())


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        data = opened.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise SettingsError(f"{_NAME}: {file} is longer than {MOST_BYTES} bytes: is it a file of keys?")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise SettingsError(f"{_NAME}: {file} is not UTF-8 text: is it a file of keys?") from None


def _stamp(path: Path) -> Stamp:
    """A value that changes when the files do; None where they cannot be read. The inode shows a swapped link, ctime a chmod."""
    try:
        found = [(file.name, file.stat()) for file in _files(path)]
    except OSError:
        return None
    return tuple((name, of.st_mtime_ns, of.st_ctime_ns, of.st_ino, of.st_size) for name, of in found)
