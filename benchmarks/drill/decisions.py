"""Decisions of a person about service while all else goes on: promote, rollback, withdraw, freeze."""

import json
import threading
import time

from benchmarks.drill.handed import PERSON, Event
from benchmarks.drill.world import TARGETS, World

_DECIDING = {target: threading.Lock() for target in TARGETS}


def _decide(world: World, event: Event, action: str, *arguments: str) -> bool:
    done = world.acclimate(
        action, event.target, *arguments, "-w", world.workspace.root, "--by", PERSON, "--reason", f"event {event.number}"
    )  # fmt: skip
    world.record.count(f"{action}: {'done' if done.returncode == 0 else f'exit status {done.returncode}'}")
    if done.returncode == 1:
        world.record.note_odd(f"{action} {event.target} {arguments}: {done.stderr.strip()[-300:]}")
    return done.returncode == 0


def promote(world: World, event: Event) -> None:
    """A person promotes any version, even one that was withdrawn."""
    versions = sorted(
        path.name for path in (world.workspace.registry(event.target) / "versions").glob("[1-9]*")
    )
    with _DECIDING[event.target]:
        if not versions:
            _decide(world, event, "promote")
            return
        before = _moves(world, event.target)
        if _decide(world, event, "promote", "--version", event.draw.choice(versions), "--force"):
            _note_done(world, event.target, "promote", changed=_moves(world, event.target) != before)


def rollback(world: World, event: Event) -> None:
    """A person rolls back, and it is measured when the pointer changes."""
    with _DECIDING[event.target]:
        before, begun = _moves(world, event.target), time.monotonic()
        took: list[float] = []
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(0.005) and not took:
                if _moves(world, event.target) != before:
                    took.append(time.monotonic() - begun)

        watcher = threading.Thread(target=look)
        watcher.start()
        done = _decide(world, event, "rollback")
        stop.set()
        watcher.join()
        if done:
            _note_done(world, event.target, "rollback", changed=True)
            with world.record.changing() as record:
                record.rollbacks_s += took


def withdraw(world: World, event: Event) -> None:
    """A person withdraws any version."""
    versions = sorted(
        path.name for path in (world.workspace.registry(event.target) / "versions").glob("[1-9]*")
    )
    if versions:
        with _DECIDING[event.target]:
            _decide(world, event, "withdraw", "--version", event.draw.choice(versions))


def freeze(world: World, event: Event) -> None:
    """A person freezes a target, and lifts that a little later."""
    with _DECIDING[event.target]:
        if not _decide(world, event, "freeze"):
            return
    time.sleep(event.draw.uniform(1, 10))
    with _DECIDING[event.target]:
        for _ in range(5):  # the disk may be full
            if _decide(world, event, "freeze", "--lift"):
                return
            time.sleep(3)


def _note_done(world: World, target: str, action: str, *, changed: bool) -> None:
    if changed:
        with world.record.changing() as record:
            record.done.append((target, action))


def _moves(world: World, target: str) -> int:
    try:
        return json.loads(world.workspace.champion(target).read_bytes()).get("moves", 0)
    except (OSError, ValueError):
        return -1
