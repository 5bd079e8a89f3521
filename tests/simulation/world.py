"""One simulation: servers, programs, and a schedule of what is done to them."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from adapters.simulated import BrokerServer, StoreServer
from adapters.simulated.letters import Letters
from adapters.simulated.queues import Entry
from adapters.simulated.store import Memory
from adapters.simulated.wire import ConnectionLost
from core.chance import SeededChance
from core.claims import Stored
from core.ports import DeadLetter
from tests.simulation import judgement
from tests.simulation.loop import VirtualLoop, abandon
from tests.simulation.plan import CALM, CONSUMERS, TROUBLE, Event, drawn
from tests.simulation.programs import Consumer, Gateway, ProgramClock, Running, System
from tests.simulation.steering import Steering
from tests.simulation.witness import Witness
from tests.simulation.work import CONTRACTS

# After the faults: the longest that is waited for is a claim of a store whose clock was 20 s ahead, and retries.
PATIENCE = 240.0


@dataclass
class Report:
    seed: int
    wrong: list[str]
    digest: str
    trace: list[str]
    seconds: float
    runs: int
    accepted: int
    effects: int
    letters: int
    excused: int


def simulate(seed: int, schedule: Sequence[Event] | None = None) -> Report:
    """Run the schedule of a seed, or another one with the same chance."""
    _quiet()
    random.seed(seed)
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    enabled = gc.isenabled()
    gc.disable()  # a collection in the middle would end what is left behind at a moment of its own
    world = World(seed, loop)
    try:
        loop.run_until_complete(world.run(drawn(seed) if schedule is None else schedule))
    except RuntimeError as error:
        world.witness.fails(f"the simulation has ended: {error}")
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        for running in world.lives:
            abandon(running.program)
        if enabled:
            gc.enable()
    return world.report()


class World:
    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        self.seed = seed
        self.loop = loop
        clock = ProgramClock(loop)
        self.chance = SeededChance(f"world {seed}", clock)
        self.witness = Witness(loop.time, {name: contract.retry.max_attempts for name, contract in CONTRACTS.items()})
        self.broker = BrokerServer(SeededChance(f"broker {seed}", clock))
        self.store = StoreServer(SeededChance(f"store {seed}", clock), clock, retention=86_400.0)
        self.system = System(seed, loop, self.broker, self.store, self.witness)
        self.programs: dict[str, Running] = {}
        self.lives: list[Running] = []
        self.asked = 2
        self.broker.watch.append(self._moved)
        self.store.watch.append(self._stored)
        self.store.watch_letters.append(self.witness.buried)

    async def run(self, schedule: Sequence[Event]) -> None:
        for name in ("gateway", *CONSUMERS[:2]):
            self.start(name)
        self._plan_snapshots(schedule)
        bounds = asyncio.get_running_loop().create_task(self._watch_bounds())
        for event in schedule:
            await asyncio.sleep(max(0.0, event.at - self.loop.time()))
            self.apply(event)
        await asyncio.sleep(max(0.0, CALM + TROUBLE - self.loop.time()))
        self.heal()
        await self._until_quiet()
        bounds.cancel()
        judgement.at_the_end(self)

    # ------------------------------------------------------------------------------------------------- programs

    def start(self, name: str) -> None:
        life = 1 + sum(running.name == name for running in self.lives)
        if name == "controller":
            self.programs[name] = Steering(self.system, name, life, self)
        else:
            self.programs[name] = (Gateway if name == "gateway" else Consumer)(self.system, name, life)
        self.lives.append(self.programs[name])
        self.witness.note("starts", name, life)

    def kill(self, name: str, noticed_after: float) -> None:
        self._end(self.programs[name], noticed_after)

    def _end(self, running: Running, noticed_after: float = 0.0) -> None:
        running.program.killed = True
        self.witness.killed(running.program)
        for wire, of in list(self.broker.wires.items()):
            if of == running.name:
                wire.cut(server_after=noticed_after)

    def alive(self, name: str) -> bool:
        running = self.programs.get(name)
        return running is not None and not running.program.killed and not running.ended

    def consumer(self, name: str) -> Consumer | None:
        """The one that runs under this name."""
        running = self.programs.get(name)
        return running if isinstance(running, Consumer) and self.alive(name) else None

    def scale(self, replicas: int) -> None:
        """Scale as the controller asks: the last consumers are drained, or missing ones are started."""
        self.asked = replicas
        for number, name in enumerate(CONSUMERS):
            if number < replicas:
                self._start_again(name)
            elif self.alive(name):
                self._drain(Event(self.loop.time(), "drain", name))

    def wanted(self, name: str) -> bool:
        return name not in CONSUMERS[self.asked :]

    @property
    def gateway(self) -> Gateway | None:
        running = self.programs["gateway"]
        return running if isinstance(running, Gateway) and self.alive("gateway") and hasattr(running, "submitter") else None

    # ---------------------------------------------------------------------------------------------------- events

    def apply(self, event: Event) -> None:
        self.witness.note("event", event.kind, event.target, event.lasts, event.how)
        getattr(self, "_" + event.kind.replace(" ", "_"))(event)

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        self.loop.call_later(seconds, what)

    def _submit(self, event: Event) -> None:
        if self.gateway is not None:
            self.gateway.submit(event, self._job_id(event))

    _foreign = _submit

    def _job_id(self, event: Event) -> str:
        return SeededChance(f"{self.seed} job {event.how}", ProgramClock(self.loop)).uuid7()

    def _replay(self, event: Event) -> None:
        if self.gateway is not None:
            self.gateway.operate(event)

    _drop = _replay

    def _purge(self, event: Event) -> None:
        """Of a queue, or of all those that hold what is delayed."""
        if not self.broker.running:
            return
        queue = self.broker.queues.get(event.target)
        if queue is not None:
            gone = [(event.target.removesuffix(".dead"), entry.message) for entry in queue.purge()]
        else:
            gone = [(of, message) for _, _, of, message in self.broker.delayed]
            self.broker.delayed.clear()
        self.witness.purged.update({(of, message.job_id): None for of, message in gone})

    def _controller(self, _: Event) -> None:
        self.start("controller")

    def _cut(self, event: Event) -> None:
        running = self.programs.get(event.target)
        if running is not None and self.alive(event.target) and hasattr(running, "broker"):
            lasts = event.lasts if event.how < 0.8 else 0.0
            client, server = (0.0, lasts) if event.how < 0.4 else (lasts, 0.0)
            running.broker.cut(publishing=event.how * 10 % 2 < 1, client_after=client, server_after=server)

    def _partition(self, event: Event) -> None:
        self.broker.hold(event.target)
        self.store.unreachable[event.target] = None
        self.witness.store_ailing = True
        self.later(event.lasts, lambda: self._join(event.target))

    def _join(self, name: str) -> None:
        self.broker.release(name)
        self.store.unreachable.pop(name, None)

    def _flapping(self, event: Event) -> None:
        self.broker.flapping[event.target] = None
        self._cut(event)
        self.later(event.lasts, lambda: self.broker.flapping.pop(event.target, None))

    def _prompt(self, event: Event) -> None:
        """At most a dozen times: an invalid job dies again and again."""
        chance, left = SeededChance(f"operator {self.seed}", ProgramClock(self.loop)), iter(range(12))
        self.store.watch_letters.append(
            lambda _: self.later(chance.uniform(0, 0.4), lambda: self._replay(event)) if next(left, None) is not None else None
        )

    def _cut_at_letters(self, event: Event) -> None:
        chance = SeededChance(f"letters {self.seed}", ProgramClock(self.loop))

        def cut(_: DeadLetter) -> None:
            for name in CONSUMERS[:2] if chance.uniform(0, 1) < event.how else ():
                running = self.programs.get(name) if self.alive(name) else None
                if isinstance(running, Consumer) and hasattr(running, "broker"):
                    running.broker.cut(publishing=False)

        self.store.watch_letters.append(cut)

    def _slow_network(self, event: Event) -> None:
        self.broker.slowness = 1.0 + 200.0 * event.how
        self.later(event.lasts, lambda: setattr(self.broker, "slowness", 1.0))

    def _rude_farewell(self, event: Event) -> None:
        errors = {"cancel": asyncio.CancelledError, "bare": Exception, "runtime": RuntimeError}
        self.broker.farewell = lambda: errors[event.target]("the connection has ended")

    def _broker_killed(self, event: Event) -> None:
        if self.broker.running:
            self.broker.kill()
            self.later(event.lasts, self._broker_starts)

    def _broker_starts(self) -> None:
        if not self.broker.running:
            self.broker.start()

    def _broker_stalled(self, event: Event) -> None:
        if self.broker.running and not self.broker.stalled:
            self.broker.stall()
            self.later(event.lasts, self._broker_goes_on)

    def _broker_goes_on(self) -> None:
        if self.broker.running and self.broker.stalled:
            self.broker.go_on()

    def _alarm(self, event: Event) -> None:
        self.broker.block()
        self.later(event.lasts, self.broker.unblock)

    def _unbound(self, event: Event) -> None:
        self.broker.unbound[event.target] = None
        self.later(event.lasts, lambda: self.broker.unbound.pop(event.target, None))

    def _full(self, event: Event) -> None:
        queue = self.broker.queues.get(event.target)
        if queue is not None:
            queue.full = True
            self.later(event.lasts, lambda: setattr(queue, "full", False))

    def _twice(self, event: Event) -> None:
        """At-least-once dead-lettering, which delays are made of, hands a message on twice now and then."""
        queue = self.broker.queues.get(event.target)
        if queue is not None and self.broker.running:
            for message in [message for _, _, of, message in self.broker.delayed if of == event.target][:2]:
                self.broker.put(queue, message)

    def _store_away(self, event: Event) -> None:
        self.witness.store_ailing = True
        self.store.away = event.target
        self.later(event.lasts, lambda: setattr(self.store, "away", None))

    def _store_slow(self, event: Event) -> None:
        self.store.slowness = 100.0 + 300.0 * event.how  # up to 0.8 s each way: slow, and within the timeout
        self.later(event.lasts, lambda: setattr(self.store, "slowness", 1.0))

    def _store_uneven(self, event: Event) -> None:
        self.store.stragglers = 0.1 + 0.3 * event.how
        self.later(event.lasts, lambda: setattr(self.store, "stragglers", 0.0))

    def _store_mute(self, event: Event) -> None:
        self.witness.store_ailing = True
        self.store.mute = True
        self.later(event.lasts, lambda: setattr(self.store, "mute", False))

    def _store_empty(self, _: Event) -> None:
        self.store.become(Memory({}, {}, Letters()))

    def _plan_snapshots(self, schedule: Sequence[Event]) -> None:
        self._snapshots: dict[Event, Memory] = {}
        for event in schedule:
            if event.kind == "store rollback":
                self.loop.call_at(event.at - event.lasts, self._snapshot, event)

    def _snapshot(self, event: Event) -> None:
        self._snapshots[event] = self.store.memory.copy()

    def _store_rollback(self, event: Event) -> None:
        self.store.become(self._snapshots.get(event, self.store.memory))

    def _store_forgets(self, event: Event) -> None:
        jobs = list(self.store.memory.jobs)
        if jobs:
            self.store.forget(jobs[int(event.how * len(jobs)) % len(jobs)])

    def _store_clock(self, event: Event) -> None:
        self.store.ahead += event.lasts

    def _kill(self, event: Event) -> None:
        if self.alive(event.target):
            self.kill(event.target, event.lasts if event.how < 0.3 else 0.0)
            self.later(event.lasts, lambda: self._start_again(event.target))

    def _start_again(self, name: str) -> None:
        if not self.alive(name) and self.wanted(name):
            self.start(name)

    def _stop(self, event: Event) -> None:
        running = self.programs.get(event.target)
        if running is not None and self.alive(event.target):
            running.program.stop()
            self.witness.store_ailing = True  # to a program that stands still everything else is late
            self.later(event.lasts, lambda: running.program.go_on(self.loop))

    def _drain(self, event: Event) -> None:
        running = self.programs.get(event.target)
        if running is not None and self.alive(event.target) and hasattr(running, "broker"):
            self.loop.create_task(self._drained(running, event))

    async def _drained(self, running: Running, event: Event) -> None:
        """SIGTERM; SIGKILL after a grace of 30 s."""
        running.stop.set()
        await asyncio.wait({running.task}, timeout=30.0)
        if running.program.killed:
            return  # meanwhile
        if running.ended:
            self.witness.drained(running.program)
        self._end(running)
        await asyncio.sleep(event.lasts)
        self._start_again(running.name)

    def _wall_clock(self, event: Event) -> None:
        self.programs[event.target].clock.off += event.lasts

    # -------------------------------------------------------------------------------------------------- the end

    def heal(self) -> None:
        """All that was done is undone, but for what programs make of it."""
        self.witness.note("heals")
        self.broker.slowness = self.store.slowness = 1.0
        self.broker.farewell = lambda: ConnectionLost("the connection has ended")
        self.broker.unbound.clear()
        self.broker.flapping.clear()
        self.store.away, self.store.mute, self.store.stragglers = None, False, 0.0
        for queue in self.broker.queues.values():
            queue.full = False
        self._broker_starts()
        self._broker_goes_on()
        if self.broker.alarm:
            self.broker.unblock()
        for name, running in list(self.programs.items()):
            self._join(name)
            if running.program.stopped:
                running.program.go_on(self.loop)

    async def _until_quiet(self) -> None:
        deadline = self.loop.time() + PATIENCE
        calm = 0
        while calm < 2 and self.loop.time() < deadline:
            await asyncio.sleep(1.0)
            calm = calm + 1 if judgement.quiet(self) else 0

    async def _watch_bounds(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            for name, running in self.programs.items():
                if isinstance(running, Consumer) and self.alive(name) and hasattr(running, "runtimes"):
                    for beyond in running.beyond_bounds():
                        self.witness.fails(beyond)

    def _moved(self, what: str, queue: str, entry: Entry) -> None:
        self.witness.moved(what, queue, entry)
        for channel in self.broker.channels if what == "given" else ():
            if len(channel.unacked) > judgement.most_unacked(channel):
                self.witness.fails(f"one channel was given {len(channel.unacked)} at once")

    def _stored(self, what: str, key: tuple[str, str], before: Stored | None, after: Stored | None, token: str) -> None:
        if what in ("granted", "crashed") and after is not None:
            self.witness.claimed(key, before, after, self.store.now())
        self.witness.stored(what, key, before, after, token)

    def report(self) -> Report:
        w = self.witness
        letters = sum(len(of) for of in w.letters.values())
        counts = w.runs, len(w.accepted), sum(w.effects.values()), letters, len(w.excuses)
        return Report(self.seed, w.wrong, w.digest, w.seen, self.loop.time(), *counts)


def _quiet() -> None:
    """No log lines: thousands of schedules would write millions."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), cache_logger_on_first_use=True)
