"""Kills of every process, a full disk and a remote that cannot be reached."""

import signal
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from benchmarks.drill.handed import Event
from benchmarks.drill.world import World

ARMED_S = 60
"""A kill waits so long for its victim."""


def killer(kind: str) -> Callable[[World, Event], None]:
    """An event that kills a process of ``kind`` as soon as there is one, a moment into its life."""

    def kill(world: World, event: Event) -> None:
        threading.Thread(target=_kill_one, args=(world, event, kind), daemon=True).start()

    return kill


def _kill_one(world: World, event: Event, kind: str) -> None:
    deadline, draw = time.monotonic() + ARMED_S, event.draw
    while time.monotonic() < deadline and not world.ended.is_set():
        if victims := world.find(kind):
            time.sleep(draw.uniform(0, 4))
            victim = draw.choice(victims)
            if victim.is_running():
                victim.kill()
                world.record.count(f"killed: {kind}")
                return
        time.sleep(0.5)
    world.record.count(f"no {kind} to kill within {ARMED_S} s")


def kill_up(world: World, event: Event) -> None:
    """SIGKILL for `acclimate up`; its supervisor starts it again."""
    world.processes["up"].kill()
    world.record.count("killed: up")


def kill_server(world: World, event: Event) -> None:
    """SIGKILL for the inference server; its supervisor starts it again."""
    world.processes["server"].kill()
    world.record.count("killed: inference server")


def cancel_by_hand(world: World, event: Event) -> None:
    """SIGTERM for a run, as a host that shuts down sends it."""
    for process in world.find("run")[:1]:
        process.send_signal(signal.SIGTERM)
        world.record.count("terminated: run")


_FILLING = threading.Lock()


def full_disk(world: World, event: Event) -> None:
    """The disk of the workspace is full for some seconds."""
    if world.mounted:
        threading.Thread(target=_fill, args=(world, event.draw.uniform(3, 8)), daemon=True).start()


def _fill(world: World, seconds: float) -> None:
    filler = world.workspace.root / ".filler"
    with _FILLING:
        try:
            with filler.open("wb", buffering=0) as file:
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    try:
                        file.write(bytes(1 << 20))
                    except OSError:
                        try:
                            file.write(bytes(4096))
                        except OSError:
                            time.sleep(0.05)
        finally:
            filler.unlink(missing_ok=True)
        world.record.count("seconds of a full disk", round(seconds))


_AWAY = threading.Lock()


def remote_away(world: World, event: Event) -> None:
    """The DVC remote cannot be reached for a while."""
    threading.Thread(target=_take_away, args=(world, event.draw.uniform(5, 25)), daemon=True).start()


def _take_away(world: World, seconds: float) -> None:
    away: Path = world.remote.with_name("remote.away")
    with _AWAY:
        world.remote.rename(away)
        try:
            time.sleep(seconds)
        finally:
            if world.remote.exists():  # somebody made a new one, which would hide the true one
                world.record.note_odd("a folder was made where the remote was away")
                world.remote.rename(world.remote.with_name(f"remote.{uuid.uuid4().hex[:6]}"))
            away.rename(world.remote)
        world.record.count("seconds without the remote", round(seconds))
