"""The things that may happen to a workspace, drawn from a seed.

An event costs milliseconds or a second, and returns at once what it has begun: most come while a run is under way.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.drill.batches import (
    batch,
    batch_without_event,
    damaged_batch,
    doubled_batch,
    doubled_event,
    emitted,
    late_event,
    misdirected_event,
    misnamed_target,
    retrain,
    small_batch,
    trickle,
)
from benchmarks.drill.decisions import (
    freeze,
    promote,
    rollback,
    withdraw,
)
from benchmarks.drill.handed import Event
from benchmarks.drill.outages import (
    cancel_by_hand,
    full_disk,
    kill_server,
    kill_up,
    killer,
    remote_away,
)
from benchmarks.drill.world import TARGETS, World


def plan(seed: int, *, events: int, minutes: float) -> list[Event]:
    """The events of a drill, in their order; each kind happens if there is room for it."""
    source, kinds = random.Random(seed), list(KINDS)
    times = sorted(source.uniform(0, minutes * 60) for _ in range(events))
    drawn = source.choices(kinds, [KINDS[kind].weight for kind in kinds], k=max(0, events - len(kinds)))
    chosen = source.sample([*kinds, *drawn], k=events)
    return [
        Event(number, at_s, kind, source.choice(TARGETS), f"{seed}-{number}")
        for number, (kind, at_s) in enumerate(zip(chosen, times, strict=True))
    ]


def happen(world: World, event: Event) -> None:
    """Have ``event`` happen; whatever goes wrong in it is noted, and stops nothing."""
    world.record.count(f"event: {event.kind}")
    try:
        KINDS[event.kind].act(world, event)
    except Exception as error:
        world.record.note_odd(
            f"event {event.number} ({event.kind}, {event.target}): {type(error).__name__}: {error}"
        )


@dataclass(frozen=True)
class Kind:
    """How often a kind of event is drawn, and what it does."""

    weight: float
    act: Callable[[World, Event], None]


KINDS = {
    "batch, as it should be": Kind(14, batch),
    "batch whose event is lost": Kind(8, batch_without_event),
    "batch of too few images": Kind(8, small_batch),
    "batch through `acclimate emit`": Kind(5, emitted),
    "batch that grows under the intake": Kind(6, trickle),
    "batch handed in twice": Kind(8, doubled_batch),
    "batch with damaged files, a link and a pipe": Kind(6, damaged_batch),
    "batch for a wrong name": Kind(2, misnamed_target),
    "event three times": Kind(5, doubled_event),
    "event late or early": Kind(6, late_event),
    "event for nobody": Kind(5, misdirected_event),
    "retrain": Kind(5, retrain),
    "promote": Kind(10, promote),
    "rollback": Kind(14, rollback),
    "withdraw": Kind(4, withdraw),
    "freeze": Kind(2, freeze),
    "kill -9 of a stage": Kind(4, killer("stage")),
    "kill -9 of a DVC worker": Kind(2, killer("worker")),
    "kill -9 of a run": Kind(4, killer("run")),
    "SIGTERM for a run": Kind(1, cancel_by_hand),
    "kill -9 of `acclimate up`": Kind(3, kill_up),
    "kill -9 of its Prefect server": Kind(2, killer("prefect")),
    "kill -9 of the inference server": Kind(3, kill_server),
    "full disk": Kind(3, full_disk),
    "unreachable remote": Kind(4, remote_away),
}
