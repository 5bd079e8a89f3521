"""Tries to connect to each NAME=PROTOCOL:HOST:PORT, all at once, and prints what came of it as JSON, by name:

open, refused (by who is there), silent (no answer in SECONDS, in which a first packet is sent twice), or the error.
udp: a DNS query.
"""

import json
import socket
import struct
import sys
import threading

SECONDS = 2.5
# The question for `kubernetes.default.svc.cluster.local`, of type A (RFC 1035, 4.1).
NAME = b"".join(bytes([len(part)]) + part for part in b"kubernetes.default.svc.cluster.local".split(b".")) + b"\0"
QUERY = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + NAME + struct.pack(">2H", 1, 1)
told: dict[str, str] = {}


def ask(name: str, protocol: str, host: str, port: int) -> None:
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(type=kind) as client:
        client.settimeout(SECONDS)
        try:
            client.connect((host, port))
            if protocol == "udp":
                client.send(QUERY)
                client.recv(512)
            told[name] = "open"
        except TimeoutError:
            told[name] = "silent"
        except ConnectionRefusedError:
            told[name] = "refused"
        except OSError as error:
            told[name] = str(error)


def parts(given: str) -> tuple[str, str, str, int]:
    name, _, rest = given.partition("=")
    protocol, host, port = rest.split(":")
    return name, protocol, host, int(port)


threads = [threading.Thread(target=ask, args=parts(given)) for given in sys.argv[1:]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(told), flush=True)
