"""The matrix of faults: server x fault x program. Each cell is a test, or says why it is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

PROGRAMS = ("gateway", "consumer", "controller")
FAULTS = (
    *("kill", "stall 5 s", "stall 40 s", "refuse", "slow", "partition"),
    *("disk full", "memory alarm", "restart empty", "leader change", "rolling restart"),
)


class Why(StrEnum):
    """Why there is no test."""

    MEANINGLESS = "not meaningful"
    SAME = "same path as"
    ONE_MACHINE = "not possible on one machine"


@dataclass(frozen=True, slots=True)
class Reason:
    why: Why
    more: str

    def __str__(self) -> str:
        return f"{self.why} {self.more}" if self.why is Why.SAME else f"{self.why}: {self.more}"


@dataclass(frozen=True, slots=True)
class Cell:
    """reason: None where there is a test. setup: which servers it runs on; cells of one setup share them."""

    server: str
    fault: str
    program: str
    setup: str
    reason: Reason | None = None

    @property
    def name(self) -> str:
        return f"{self.server}, {self.fault}, {self.program}"

    @property
    def scenario(self) -> tuple[str, str]:
        """The scenario that it shares with other cells: a fault that all programs see at once is judged for each of them."""
        return (self.fault, self.program if self.fault in _OF_ONE_PROGRAM.get(self.setup, ()) else "")


def no(more: str) -> Reason:
    return Reason(Why.MEANINGLESS, more)


def same(cell: str) -> Reason:
    return Reason(Why.SAME, cell)


def machine(more: str) -> Reason:
    return Reason(Why.ONE_MACHINE, more)


TEST = None
_ON_THE_WAY = ("stall 5 s", "stall 40 s", "refuse", "slow", "partition")
# Done between one program and its server, by a proxy, or to one program; every other fault is the server's own.
_OF_ONE_PROGRAM = {
    "rabbitmq": _ON_THE_WAY,
    "redis": _ON_THE_WAY,
    "postgres": _ON_THE_WAY,
    "sqlite": ("kill",),
    "processes": ("kill", "stall 5 s", "stall 40 s"),
}
_ONE_SERVER = no("one server has no leader that could change")
_FILE = "a file is not reached over a network"
_KNOWN_ADDRESSES = "clients are told the servers' own addresses"

_ROWS: dict[tuple[str, str], dict[str, Reason | None]] = {
    ("RabbitMQ", "rabbitmq"): dict.fromkeys(FAULTS, TEST) | {"leader change": _ONE_SERVER},
    ("RabbitMQ, three nodes", "rabbitmq-3"): {
        "kill": TEST,
        "stall 5 s": TEST,
        "stall 40 s": TEST,
        "refuse": same("RabbitMQ, refuse: a program has one connection to one node"),
        "slow": same("RabbitMQ, slow: a program has one connection to one node"),
        "partition": machine("nodes of one machine share its loopback; what a program sees is RabbitMQ, partition"),
        "disk full": TEST,
        "memory alarm": same("RabbitMQ, three nodes, disk full: an alarm of one node blocks publishers on all"),
        "restart empty": no("a node that lost its disk is a new node, which an operator lets join"),
        "leader change": TEST,
        "rolling restart": TEST,
    },
    ("Redis", "redis"): dict.fromkeys(FAULTS, TEST) | {"leader change": _ONE_SERVER},
    ("Redis Sentinel", "redis-sentinel"): {
        "kill": TEST,
        "stall 5 s": TEST,
        "stall 40 s": TEST,
        "refuse": same("Redis Sentinel, kill: connections are refused until the failover"),
        "slow": same(f"Redis, slow: {_KNOWN_ADDRESSES}"),
        "partition": machine(f"{_KNOWN_ADDRESSES}; what a program sees is Redis, partition"),
        "disk full": same("Redis, disk full: one primary answers"),
        "memory alarm": same("Redis, memory alarm: one primary answers"),
        "restart empty": same("Redis, restart empty: a primary that is back before the failover empties its replicas too"),
        "leader change": TEST,
        "rolling restart": TEST,
    },
    ("Redis Cluster", "redis-cluster"): {
        "kill": TEST,
        "stall 5 s": TEST,
        "stall 40 s": TEST,
        "refuse": same("Redis Cluster, kill: connections are refused until the failover"),
        "slow": same(f"Redis, slow: {_KNOWN_ADDRESSES}"),
        "partition": machine(f"{_KNOWN_ADDRESSES}; what a program sees is Redis, partition"),
        "disk full": same("Redis, disk full: the primary of a slot answers"),
        "memory alarm": same("Redis, memory alarm: the primary of a slot answers"),
        "restart empty": same("Redis, restart empty: for the slots of that primary"),
        "leader change": TEST,
        "rolling restart": TEST,
    },
    ("SQLite", "sqlite"): {
        "kill": TEST,
        "stall 5 s": TEST,
        "stall 40 s": TEST,
        "refuse": no(_FILE),
        "slow": no(_FILE),
        "partition": no(_FILE),
        "disk full": TEST,
        "memory alarm": no("there is no server that could have one"),
        "restart empty": no("the file is the queue and the store: without it there is nothing that could be kept"),
        "leader change": no("there is no server that could have one"),
        "rolling restart": TEST,
    },
    ("PostgreSQL", "postgres"): {
        "kill": TEST,
        "stall 5 s": TEST,
        "stall 40 s": TEST,
        "refuse": TEST,
        "slow": TEST,
        "partition": machine("its client asks TCP alone whether it is there, and a proxy's TCP is; see what does not hold"),
        "disk full": TEST,
        "memory alarm": machine("its memory is the machine's; the kernel's answer is PostgreSQL, kill"),
        "restart empty": no("the rows are the team's own, and so is their backup"),
        "leader change": same("PostgreSQL, refuse: clients are led to another server, and find the old connections gone"),
        "rolling restart": TEST,
    },
    ("the program itself", "processes"): {
        "kill": TEST,
        "stall 5 s": TEST,
        "stall 40 s": TEST,
        "refuse": no("it is done to the way to a server"),
        "slow": no("it is done to the way to a server"),
        "partition": same("RabbitMQ, partition, and Redis, partition"),
        "disk full": no("programs write to no disk of their own"),
        "memory alarm": same("the program itself, kill: what the kernel does"),
        "restart empty": same("the program itself, kill: a program keeps nothing"),
        "leader change": machine("two controllers need a Kubernetes Lease; tests/cluster has them"),
        "rolling restart": TEST,
    },
}
# A handlers' database is known to consumers alone.
_STRANGER = no("only consumers know the handlers' database")

# Part of every run: one for each way of recovering. The others are `make chaos`.
EVERY_RUN = {
    ("rabbitmq", "kill"),
    ("rabbitmq", "disk full"),
    ("redis", "kill"),
    ("redis", "restart empty"),
    ("sqlite", "disk full"),
}


def cells() -> Iterator[Cell]:
    """All of them, in the order of the page; those of one setup, and of one scenario, one after another."""
    for (server, setup), row in _ROWS.items():
        for fault in FAULTS:
            for program in PROGRAMS:
                reason = _STRANGER if setup == "postgres" and program != "consumer" else row[fault]
                yield Cell(server, fault, program, setup, reason)
