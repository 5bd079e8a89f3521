"""The rules that must hold once everything has healed and time has passed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from adapters.simulated.queues import Channel, Queue
from core.model import Reason, State
from tests.simulation.programs import CONSUMER, Running
from tests.simulation.witness import Accepted, Key
from tests.simulation.work import LONGEST, QUEUES, UNFORESEEN

if TYPE_CHECKING:
    from tests.simulation.world import World


def quiet(world: World) -> bool:
    """Whether nothing is left to do."""
    broker = world.broker
    return not (broker.delayed or any(_left(queue) for queue in broker.queues.values()) or world.witness.live or _unready(world))


def at_the_end(world: World) -> None:
    """Say everything that is wrong."""
    for complaint in [*_held(world), *_unready(world), *_undone(world), *_given_up(world)]:
        world.witness.fails(complaint)


def most_unacked(channel: Channel) -> int:
    """The prefetch that the programs ask for. A dead-letter queue's is the runtime's own."""
    queues = {consumer.queue.name for _, consumer in channel.unacked.values()}
    return CONSUMER.held_at_most(LONGEST) if queues <= set(QUEUES) else 20


def _left(queue: Queue) -> int:
    return queue.depth + len(queue.held)


def _held(world: World) -> Iterator[str]:
    for queue in world.broker.queues.values():
        if _left(queue):
            yield f"queue {queue.name} still has {queue.depth} ready and {len(queue.held)} held"
    if world.broker.delayed:
        yield f"{len(world.broker.delayed)} are still delayed"
    for run in world.witness.live:
        yield f"{run.key}: still runs"


def _unready(world: World) -> list[str]:
    """The parts that are not again as they were."""
    reasons = []
    for name, running in world.programs.items():
        if not world.wanted(name):
            continue
        if not world.alive(name):
            reasons.append(f"{name} does not run")
        elif not _began(running):
            reasons.append(f"{name} has not begun")
        else:
            reasons += running.unready()
    return reasons


def _began(running: Running) -> bool:
    return hasattr(running, "broker") and bool(getattr(running, "runtimes", True))


def _undone(world: World) -> Iterator[str]:
    """Each accepted job has each of its effects, or a dead letter, and the store says so."""
    for job_id, accepted in world.witness.accepted.items():
        for queue in accepted.queues:
            yield from _of_one(world, (queue, job_id), accepted)


def _of_one(world: World, key: Key, accepted: Accepted) -> Iterator[str]:
    witness = world.witness
    if key in witness.purged:
        return  # nothing is owed to it any more; all that must hold at every step held for it too
    effects = sum(count for (of, _), count in witness.effects.items() if of == key)
    if not effects and not witness.letters.get(key):
        yield f"{key} (job {accepted.n}) was accepted, and has neither an effect nor a dead letter"
    row = world.store.memory.rows.get(key)
    if "the store lost it" in witness.excuses.get(key, ()):
        return
    if row is None:
        if not any(letter.reason in (Reason.DELIVERY_LIMIT, Reason.REJECTED) for letter in witness.letters.get(key, ())):
            yield f"{key}: nothing is stored of it"
    elif not row.stored.state.final and not _given_up_alone(world, key):
        yield f"{key} is still {row.stored.state.value} (replay {row.stored.replay}, attempt {row.stored.attempt})"
    elif row.stored.state is State.SUCCEEDED and not witness.effects[key, row.stored.replay]:
        yield f"{key} is said to have succeeded in replay {row.stored.replay}, and had no effect"


def _given_up_alone(world: World, key: Key) -> bool:
    """A message that the broker gave up changes no delivery: its record says what was known before."""
    return any(letter.reason in (Reason.DELIVERY_LIMIT, Reason.REJECTED) for letter in world.witness.letters.get(key, ()))


def _given_up(world: World) -> Iterator[str]:
    """The broker gives up what came back too often; only lost connections may bring it so far."""
    for key, letters in world.witness.letters.items():
        job = world.witness.accepted.get(key[1])
        if job is None or job.n >= UNFORESEEN:
            continue
        for letter in letters:
            if letter.reason is Reason.DELIVERY_LIMIT and world.witness.lost[key] < CONSUMER.delivery_limit / 2:
                yield f"{key}: the broker gave it up, though its connection was lost only {world.witness.lost[key]} times"
