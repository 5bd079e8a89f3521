"""The programs of the simulated system: what their `app.py` puts together, on simulated servers, without sockets and signals."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TypedDict

from pydantic import SecretStr

from adapters.simulated import BrokerServer, SimulatedBroker, SimulatedOutcomes, StoreServer
from consumer.ahead import asked_of, by_queue
from consumer.cordon import Cordon, seconds_of
from consumer.ledger import Ledger
from consumer.liveness import Liveness
from consumer.resources import Resources
from consumer.runtime import QueueRuntime, Tools
from consumer.settings import ConsumerSettings
from core.chance import SeededChance
from core.clock import BootTime
from core.envelope import Envelope
from core.errors import BrokerError, HeadraceError
from core.figures import QueueFigures
from core.ports import DeadLetter, Message, Queued
from service import dead_letters
from service.settings import GatewaySettings
from service.submit import Submitter
from telemetry.supervisor import Supervisor
from tests.simulation.loop import Program, VirtualLoop
from tests.simulation.plan import Event
from tests.simulation.witness import Accepted, Witness
from tests.simulation.work import CATALOGUE, CONTRACTS, LONGEST, QUEUES, Handlers, Inline


class _Shared(TypedDict):
    broker: SecretStr
    outcomes: SecretStr
    publish_timeout: float
    connect_timeout: float
    store_timeout: float
    delivery_limit: int
    drain_seconds: float
    new_queue_pause: float


_SHARED: _Shared = {
    "broker": SecretStr("memory:"),
    "outcomes": SecretStr("memory:"),
    "publish_timeout": 3.0,
    "connect_timeout": 3.0,
    "store_timeout": 2.0,
    "delivery_limit": 8,
    "drain_seconds": 3.0,
    "new_queue_pause": 4.0,  # as by default; the tests of other folders set the environment's variable to 0
}
CONSUMER = ConsumerSettings(**_SHARED, concurrency=3, claim_lease=4.0, stall_seconds=30.0)
GATEWAY = GatewaySettings(**_SHARED, max_unconfirmed=200)


class ProgramClock:
    """The virtual time; its wall clock may step."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.off = 0.0

    def wall(self) -> float:
        return 1_750_000_000.0 + self._loop.time() + self.off

    def steady(self) -> float:
        return self._loop.time()

    def boot(self) -> BootTime:
        return BootTime("virtual", self._loop.time())


@dataclass
class System:
    """The parts that all programs of one simulation share."""

    seed: int
    loop: VirtualLoop
    broker: BrokerServer
    store: StoreServer
    witness: Witness


class Running:
    """One life of one program."""

    def __init__(self, system: System, name: str, life: int) -> None:
        self.system = system
        self.name = name
        self.program = Program(f"{name}/{life}")
        self.clock = ProgramClock(system.loop)
        self.chance = SeededChance(f"{system.seed} {name} {life}", self.clock)
        self.store = SimulatedOutcomes(system.store, name, CONSUMER.store_timeout)
        self.stop = asyncio.Event()
        self.began = system.loop.time()
        self.ended = False
        self.task = self.program.run(system.loop, self._life)

    def unready(self) -> list[str]:
        """Why it does not do its work."""
        raise NotImplementedError

    def supervisor(self) -> Supervisor:
        """The owner of loops that must not end. A loop that it cannot keep running ends the program, as it does the real ones."""
        return Supervisor(chance=self.chance, give_up=self._gives_up)

    def broker_of(self, supervisor: Supervisor) -> SimulatedBroker:
        return SimulatedBroker(self.system.broker, self.name, CATALOGUE.topology(), CONSUMER, self.chance, supervisor)

    def _gives_up(self, why: str) -> None:
        self.system.witness.fails(f"{self.name} gives up: {why}")
        self.stop.set()

    async def main(self) -> None:
        raise NotImplementedError

    async def _life(self) -> None:
        try:
            await self.main()
        except Exception as error:
            self.system.witness.fails(f"{self.name} ended by {type(error).__name__}: {error}")
        self.ended = True


class Gateway(Running):
    """The use cases of `service/`."""

    async def main(self) -> None:
        supervisor = self.supervisor()
        self.broker = self.broker_of(supervisor)
        self.submitter = Submitter(self.broker, self.store, GATEWAY, self.clock)
        await self.broker.open()
        await self.stop.wait()
        await self.submitter.drain(1.0)
        await self.broker.close()
        await supervisor.close()

    def unready(self) -> list[str]:
        reason = self.broker.unready()
        return [f"{self.name}: {reason}"] if reason else []

    def submit(self, event: Event, job_id: str) -> None:
        """A client's request; it may ask again with the same Idempotency-Key."""
        self.program.run(self.system.loop, lambda: self._submit(event, job_id))

    async def _submit(self, event: Event, job_id: str) -> None:
        contract, deadline = CONTRACTS[event.target], self.system.loop.time() + event.lasts
        now = self.clock.wall()
        envelope = Envelope(job_id, contract.name, now, deadline=None if contract.deadline is None else now + contract.deadline)
        body = b'{"n":%d}' % int(event.how)
        while True:
            try:
                if event.kind == "foreign":
                    await self.broker.publish([Message(job_id, contract.name, _bare(envelope), body)])[0]
                else:
                    record = Queued(job_id, contract.name, contract.queues, now)
                    await self.submitter.submit(Message(job_id, contract.name, envelope.headers(), body), record)
            except BrokerError as error:
                self.system.witness.note("refused", job_id, type(error).__name__)
            else:
                self.system.witness.accept(job_id, Accepted(int(event.how), contract.name, contract.queues))
                return
            if self.system.loop.time() >= deadline:
                return
            await asyncio.sleep(1.0)

    def operate(self, event: Event) -> None:
        self.program.run(self.system.loop, lambda: self._operate(event))

    async def _operate(self, event: Event) -> None:
        """Replay what is there, one letter twice and at once, or drop one."""
        with contextlib.suppress(HeadraceError):
            letters = (await self.store.dead_letters(limit=10)).items
            if event.kind == "drop":
                for letter in letters[:1]:
                    await self.store.drop(letter.dead_id)
                return
            letters = tuple(letter for letter in letters if letter.replayed_at is None)[:4]
            self.system.witness.note("replays", *(letter.job_id for letter in letters))
            again = [*letters, *letters[:1]] if event.how < 0.5 else letters
            await asyncio.gather(*(self._replay(letter) for letter in again), return_exceptions=True)

    async def _replay(self, letter: DeadLetter) -> None:
        await dead_letters.replay(letter, self.broker, self.store, self.clock)


class Consumer(Running):
    """As `consumer/app.py` puts it together."""

    async def main(self) -> None:
        self.runtimes: list[QueueRuntime] = []
        supervisor = self.supervisor()
        registry = Handlers(self.system.seed, self.clock, self.system.witness).registry()
        broker = self.broker = self.broker_of(supervisor)
        ledger = Ledger(self.store, lease=CONSUMER.claim_lease, give_up=CONSUMER.hold_limit, supervisor=supervisor)
        async with Resources({}, []) as resources:
            tools = Tools(CONSUMER, registry, resources, lambda *_: Inline(self.chance), self.clock, self.chance)
            self.runtimes = [QueueRuntime(queue, broker, ledger, tools) for queue in QUEUES]
            liveness = Liveness(self.runtimes, CONSUMER.stall_seconds)
            self.cordon, self.ahead = Cordon(self.runtimes, supervisor), by_queue(self.runtimes, supervisor)
            await ledger.open()
            await broker.open()
            for runtime in self.runtimes:
                await runtime.start()
            supervisor.start("liveness", liveness.watch, patience=2 * CONSUMER.stall_seconds + 30.0)
            await self.stop.wait()
            for leased in (self.cordon, *self.ahead.values()):
                leased.close()
            await asyncio.gather(*(runtime.drain(CONSUMER.drain_seconds) for runtime in self.runtimes))
            await broker.close()
            await ledger.close()
            await supervisor.close()

    @property
    def listens(self) -> bool:
        """Whether its port answers."""
        return hasattr(self, "cordon")

    @property
    def takes(self) -> bool:
        """Whether it takes deliveries, for all that it knows."""
        return self.listens and not (self.cordon.stands or self.stop.is_set())

    async def put(self, path: str, asked: object) -> None:
        """Do a request of the controller, as `consumer/app.py` does."""
        if path == "/cordon":
            await self.cordon.put(seconds_of(asked))
        else:
            lease, seconds = asked_of(asked, self.ahead)
            self.system.witness.note("takes nothing ahead", self.name, seconds)
            await lease.put(seconds)

    def figures(self) -> dict[str, QueueFigures]:
        return {runtime.queue: runtime.figures() for runtime in self.runtimes}

    def unready(self) -> list[str]:
        reason = self.broker.unready()
        reasons = [f"{self.name}: {reason}"] if reason else []
        reasons += [f"{self.name}: {r.queue} is paused" for r in self.runtimes if r.paused or r.stuck]
        return reasons + [f"{self.name}: {r.queue} is not subscribed" for r in self.runtimes if not r.subscribed]

    def beyond_bounds(self) -> list[str]:
        """Deliveries of a lost connection are worked on beside those of the next one; both kinds of waiting have a bound each."""
        most = 2 * CONSUMER.held_at_most(LONGEST) + CONSUMER.concurrency
        return [f"{self.name}: {r.queue} holds {r.held}, at most {most}" for r in self.runtimes if r.held > most]


def _bare(envelope: Envelope) -> dict[str, str]:
    """A CloudEvent of another producer: version 0."""
    names = ("cloudEvents_specversion", "cloudEvents_id", "cloudEvents_source", "cloudEvents_type", "cloudEvents_time")
    return {name: value for name, value in envelope.headers().items() if name in names}
