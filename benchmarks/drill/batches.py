"""Batches that are handed in, well or badly, and the events that come with them or instead of them."""

import errno
import io
import os
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

import httpx

from benchmarks.drill.handed import Event
from benchmarks.drill.world import World
from flows.deployments import EVENT
from flows.workspaces.marker import workspace_id
from tests.support.tiny import CLASSES, draw

# --- batches -----------------------------------------------------------------------------------


def _images(event: Event, count: int) -> dict[str, bytes]:
    """``count`` images that no other event has, by name."""
    first, found = 100_000 + event.number * 100, {}
    for row in range(count):
        buffer = io.BytesIO()
        draw(CLASSES[row % 3], seed=first + row, shifted=True).save(buffer, "PNG")
        found[f"{first + row}.png"] = buffer.getvalue()
    return found


def _land(world: World, target: str, batch: str, files: dict[str, bytes], *, ready: bool) -> bool:
    """Copy a batch to the landing zone as another program would; whether the disk had room."""
    landing = world.workspace.landing(target)
    unnamed = landing / f".{batch}"
    try:
        unnamed.mkdir(parents=True)
        for name, content in files.items():
            (unnamed / name).write_bytes(content)
        if ready:
            (unnamed / "_READY").write_bytes(b"")
        unnamed.rename(landing / batch)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        for path in unnamed.iterdir() if unnamed.is_dir() else ():
            path.unlink()
        if unnamed.is_dir():
            unnamed.rmdir()
        world.record.count("batches that found no room and were not handed in")
        return False
    world.record.delivered(target, batch, files)
    return True


def _post(world: World, resource: str, *, late_s: float = 0, times: int = 1) -> None:
    event = {
        "id": str(uuid.uuid4()),
        "occurred": (datetime.now(UTC) - timedelta(seconds=late_s)).isoformat(),
        "event": EVENT,
        "resource": {"prefect.resource.id": resource},
        "payload": {},
    }
    for _ in range(times):
        try:
            httpx.post(f"{world.api}/events", json=[event], timeout=10).raise_for_status()
        except httpx.HTTPError:
            world.record.count("event lost: no server took it")


def batch(world: World, event: Event) -> None:
    """A whole batch, and its event."""
    if _land(world, event.target, f"b{event.number}", _images(event, event.draw.randint(8, 24)), ready=True):
        _post(world, world.resource(event.target))


def batch_without_event(world: World, event: Event) -> None:
    """A batch whose event is lost, and that has no marker."""
    _land(world, event.target, f"b{event.number}", _images(event, event.draw.randint(8, 24)), ready=False)


def small_batch(world: World, event: Event) -> None:
    """Too few images to be taken in."""
    if _land(world, event.target, f"b{event.number}", _images(event, event.draw.randint(1, 4)), ready=True):
        _post(world, world.resource(event.target))


def emitted(world: World, event: Event) -> None:
    """A batch through `acclimate emit`."""
    folder = world.root / "folders" / f"e{event.number}"
    folder.mkdir(parents=True)
    files = _images(event, event.draw.randint(8, 24))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    done = world.acclimate("emit", event.target, folder, "-w", world.workspace.root)
    said = done.stdout + done.stderr
    if " waits in " in said or "taken in before" in said:
        world.record.delivered(event.target, f"e{event.number}", files)
    else:
        world.record.count("batches that found no room and were not handed in")


def trickle(world: World, event: Event) -> None:
    """A batch that grows under the eyes of the intake, file by file."""
    files = _images(event, event.draw.randint(20, 30))
    pauses = [event.draw.uniform(0.05, 0.5) for _ in files]
    threading.Thread(target=_trickle, args=(world, event, files, pauses), daemon=True).start()


def _trickle(world: World, event: Event, files: dict[str, bytes], pauses: list[float]) -> None:
    folder = world.workspace.landing(event.target) / f"t{event.number}"
    for (name, content), pause in zip(files.items(), pauses, strict=True):
        for _ in range(20):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{name}.part").write_bytes(content)
                os.rename(folder / f"{name}.part", folder / name)
            except OSError:  # the disk is full, or the intake has just removed the folder
                time.sleep(0.5)
                continue
            world.record.delivered(event.target, folder.name, {name: content})
            break
        else:
            world.record.count("files that found no room and were not handed in")
            (folder / f"{name}.part").unlink(missing_ok=True)
        time.sleep(pause)


def doubled_batch(world: World, event: Event) -> None:
    """Files that were handed in before, under other names."""
    earlier = [path for path in (world.workspace.data(event.target) / "arrived").glob("*") if path.is_dir()]
    if not earlier:
        batch(world, event)
        return
    chosen = event.draw.choice(sorted(earlier))
    files = {f"again-{path.name}": path.read_bytes() for path in chosen.glob("*.png")}
    if files and _land(world, event.target, f"d{event.number}", files, ready=True):
        _post(world, world.resource(event.target))


def damaged_batch(world: World, event: Event) -> None:
    """Good images, and among them cut ones, empty ones, a text, a link to a file of the user's and a pipe."""
    files = _images(event, event.draw.randint(12, 20))
    names = sorted(files)
    files[names[0]] = files[names[0]][: len(files[names[0]]) // 2]
    files[f"note-{event.number}.png"] = f"no image {event.number}\n".encode()
    target, name = event.target, f"h{event.number}"
    if not _land(world, target, name, files, ready=False):
        return
    folder = world.workspace.landing(target) / name
    try:
        (folder / f"link-{event.number}.png").symlink_to(world.secret)
        os.mkfifo(folder / f"pipe-{event.number}.png")
    except OSError:  # the intake was faster, or the disk is full
        pass
    _post(world, world.resource(target))


def misnamed_target(world: World, event: Event) -> None:
    """A batch for a folder that can be no target."""
    _land(world, "Camera_7", f"b{event.number}", _images(event, 3), ready=True)


# --- events ------------------------------------------------------------------------------------


def doubled_event(world: World, event: Event) -> None:
    """The same event three times, under one id."""
    _post(world, world.resource(event.target), times=3)


def late_event(world: World, event: Event) -> None:
    """An event of a sender whose clock is wrong, either way."""
    _post(world, world.resource(event.target), late_s=event.draw.choice([40, 7200, -7200]))


def misdirected_event(world: World, event: Event) -> None:
    """An event about no target, or about another workspace."""
    mine = world.resource("x").removesuffix("x")
    other = f"acclimate.00000000.target.{event.target}"
    _post(world, event.draw.choice([other, f"{mine}NO_TARGET", f"{mine}never-seen", f"{mine}../../etc"]))


def retrain(world: World, event: Event) -> None:
    """A run of the schedule's deployment."""
    name = f"retrain-{workspace_id(world.workspace)}"
    try:
        found = (
            httpx.get(f"{world.api}/deployments/name/retrain/{name}", timeout=10).raise_for_status().json()
        )
        httpx.post(
            f"{world.api}/deployments/{found['id']}/create_flow_run", json={}, timeout=10
        ).raise_for_status()
    except httpx.HTTPError:
        world.record.count("event lost: no server took it")
