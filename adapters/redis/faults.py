"""The meaning of Redis' errors: the server is unavailable, or one item is at fault; and the remedy."""

from __future__ import annotations

import re

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import AuthenticationError, ClusterError, RedisClusterException, RedisError

from core.errors import BadRecord, StoreUnavailable
from core.outgoing import CA_FILE, untrusted

# RuntimeError: the error that uvloop's transports raise when they are written to after a reset ("unable to perform operation on
# <TCPTransport closed=True ...>"); redis-py lets it through.
FAILURES = (RedisError, RedisClusterException, OSError, TimeoutError, RuntimeError, UnicodeEncodeError)

# The rights that a user of Redis needs, as ACL SETUSER takes them; +cluster on a cluster, +config|get to look at its settings.
RIGHTS = "~headrace:* ~{headrace:* +@hash +@sortedset +@stream +@string +@keyspace +@scripting +@connection +time +info"

# In the order in which they are looked for. In a script's error the code stands somewhere in the text, and where it stands differs
# between versions of Redis.
_REMEDIES = {
    "READONLY": "it is a replica. HEADRACE_OUTCOMES must lead to the primary; where Sentinel moves it, use redis+sentinel://",
    "MASTERDOWN": "it is a replica that has lost its primary. Mend the primary, or promote this one",
    "OOM": "its memory is full. Raise maxmemory, or shorten HEADRACE_RETENTION; dropping dead letters frees memory too",
    "MISCONF": "it cannot write its file, and refuses writes. Look at its disk and at the rights of its folder; its log says more",
    "NOREPLICAS": "it has too few replicas for its min-replicas-to-write. Mend the replicas",
    "NOPERM": f"its ACL refuses the user. Allow it: {RIGHTS}",
    "LOADING": "it is loading its file; it will be back by itself",
    "CLUSTERDOWN": "the cluster has slots that nobody serves. Look at `redis-cli --cluster check`",
    "TRYAGAIN": "a slot is being moved; it will be back by itself",
    "MOVED": "it is a node of a cluster. Use redis+cluster:// in HEADRACE_OUTCOMES",
    "CROSSSLOT": "it is a node of a cluster. Use redis+cluster:// in HEADRACE_OUTCOMES",
    "BUSY": "a script of somebody else has been running for long. Look at SCRIPT KILL",
    "NOSCRIPT": "it forgets scripts at once. Is a proxy between? HEADRACE_OUTCOMES must lead to the server itself",
    "DENIED": "its protected mode refuses other machines. Give it a password",
}
_NO_PRIMARY = (
    "Are the hosts and the service of HEADRACE_OUTCOMES right, do enough Sentinels agree on a primary, and, over TLS, has an "
    f"authority in {CA_FILE} signed their certificates?"
)
_CODE = re.compile(r"(?<![A-Za-z])(" + "|".join(_REMEDIES) + r")(?![A-Za-z])")
_ITEM = re.compile(r"(?<![A-Za-z])(WRONGTYPE|BADRECORD)(?![A-Za-z])")


def fault(error: BaseException) -> StoreUnavailable | BadRecord:
    """The error of the port for one of FAILURES. redis-py never puts the password into an error."""
    if isinstance(error, UnicodeEncodeError):
        return BadRecord(f"a text cannot be written: {error.reason} at {error.start}")
    text = _text(error)
    if isinstance(error, RedisError) and _ITEM.search(text):
        return BadRecord(f"Redis: {text}")
    if isinstance(error, AuthenticationError):
        return StoreUnavailable(f"Redis refuses the user or the password of HEADRACE_OUTCOMES (or of its file): {text}")
    if isinstance(error, MasterNotFoundError):  # of what each Sentinel answered it keeps the name of an error alone
        return StoreUnavailable(f"Redis: {text.partition(' : ')[0]}. {_NO_PRIMARY}")
    code = _code(error, text)
    remedy = f" ({_REMEDIES[code]})" if code else ""
    return StoreUnavailable(f"Redis: {type(error).__name__}: {text}{remedy or untrusted(error)}")


def demoted(error: BaseException) -> bool:
    """Whether a primary is none any more: a new connection may lead to the new one."""
    return _code(error, str(error)) == "READONLY"


def _code(error: BaseException, text: str) -> str | None:
    if type(error) is ClusterError:
        return "TRYAGAIN"  # redis-py's own, after it has been sent from one server to another 16 times
    if "user executing the script" in text:
        return "NOPERM"
    status = getattr(error, "status_code", None)  # redis-py takes the codes that it knows out of the text
    if status in _REMEDIES:
        return str(status)
    found = _CODE.search(text) if isinstance(error, RedisError) else None
    return found.group(1) if found else None


def _text(error: BaseException) -> str:
    return str(error) or "no answer in time"
