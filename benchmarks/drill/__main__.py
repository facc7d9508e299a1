"""``python -m benchmarks.drill``: two hundred mishaps in ten minutes, then an account.

    python -m benchmarks.drill --seed 7 --events 200 --minutes 10

A workspace with a disk and a remote of its own, `acclimate up` and an inference server, all in a temporary folder. Batches,
events, a person's decisions, kills and outages are drawn from the seed. Afterwards everything is made whole, and once
nothing is due any more, each promise is checked. The exit status is 1 if one was broken.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.drill.accounting import (
    Line,
    account_answers,
    account_decisions,
    account_examples,
    account_outside,
    account_users_files,
    account_waiting,
    account_whole,
    account_withdrawn,
    figures_of,
)
from benchmarks.drill.events import happen, plan
from benchmarks.drill.handed import Record
from benchmarks.drill.lives import lives_of
from benchmarks.drill.world import STAGED, TARGETS, USERS_FILES, World
from flows.runs.adapted import why_stuck
from flows.workspaces.reconcile import derive_due
from tasks.errors import AcclimateError

SETTLE_S = 900
"""So long after the last event, nothing may be due any more."""


def main() -> int:
    """Drill, print the account, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.drill", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--keep", type=Path, help="a new folder that stays, for a look at what went wrong")
    parser.add_argument("--mounted", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.mounted and (command := _own_mounts()):
        # The mounts of the drill are seen by nobody else, and end with it.
        again = [*command, sys.executable, "-m", "benchmarks.drill", *sys.argv[1:]]
        os.execvp(again[0], [*again, "--seed", str(arguments.seed), "--mounted"])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background ignore it
    print(f"seed {arguments.seed}", flush=True)
    if not arguments.mounted:
        print("No disk can be mounted here, so it is never full.", flush=True)
    root = arguments.keep or Path(tempfile.mkdtemp(prefix="acclimate-drill-"))
    world = World(root.resolve(), Record(), arguments.mounted)
    try:
        return drill(world, seed=arguments.seed, events=arguments.events, minutes=arguments.minutes)
    finally:
        if arguments.keep:
            shutil.copytree(world.workspace.root, world.root / "workspace", symlinks=True, ignore=_no_pipes)
        else:
            world.remove()


def _own_mounts() -> list[str] | None:
    """The command that runs another one with mounts of its own; None where the system allows none."""
    for options in (["-m"], ["-rm"]):
        command = ["unshare", *options]
        trial = [*command, "mount", "-t", "tmpfs", "-o", "size=1m", "drill", "/mnt"]
        if (
            shutil.which("unshare")
            and subprocess.run(trial, capture_output=True, check=False).returncode == 0
        ):
            return command
    return None


def drill(world: World, *, seed: int, events: int, minutes: float) -> int:
    """Have everything happen, and account for it; the exit status."""
    world.make()
    world.supervise()
    world.watch()
    began = time.monotonic()
    left: list[str] = []
    try:
        with ThreadPoolExecutor(max_workers=4) as pool:
            for event in plan(seed, events=events, minutes=minutes):
                time.sleep(max(0.0, event.at_s - (time.monotonic() - began)))
                print(f"{time.strftime('%X')} {event.number} {event.kind} ({event.target})", flush=True)
                pool.submit(happen, world, event)
        settled_s = settle(world)
        by_kind = _runs(world)
    finally:
        left = world.end()
    lines = account(world, left)
    print(
        f"\n{events} events in {minutes:g} minutes, seed {seed}; {settled_s:.0f} s later nothing was due.\n"
    )
    print("| promise | figures | broken |\n|---|---|---|")
    for line in lines:
        print(f"| {line.promise} | {line.figures} | {len(line.faults) or 'no'} |")
    print("\n" + "\n".join(f"- {figure}" for figure in [*figures_of(world.record), *by_kind]))
    for line in lines:
        for fault in line.faults[:20]:
            print(f"BROKEN: {line.promise}: {fault}")
    for odd in world.record.odd:
        print(f"odd: {odd}")
    return 1 if any(line.faults for line in lines) else 0


def settle(world: World) -> float:
    """Wait until nothing is due; the seconds that it took.

    A target that a kill or a full disk failed is tried again at once, as its message advises.
    """
    began = time.monotonic()
    time.sleep(2)
    due = None
    while (took := time.monotonic() - began) < SETTLE_S:
        try:
            due = derive_due(world.workspace)
            stuck = [target for target in TARGETS if why_stuck(world.workspace, target)]
            arriving = bool(due.again_in_s)
        except (AcclimateError, OSError) as error:
            print(f"{time.strftime('%X')} cannot see what is due: {error}", flush=True)
            time.sleep(5)
            continue
        print(
            f"{time.strftime('%X')} due: {[f'{s.action} {s.target}' for s in due.steps]}; stuck: {stuck}",
            flush=True,
        )
        if not due.steps and not arriving and not world.find("run"):
            if not stuck:
                return took
            for target in stuck:
                world.record.note_odd(
                    f"{target} was tried again by hand: {why_stuck(world.workspace, target)}"
                )
                world.acclimate("run", "--target", target, "--no-prefect", "-w", world.workspace.root)
        time.sleep(5)
    world.record.note_odd(f"something is still due after {SETTLE_S} s: {due and (due.steps, due.waiting)}")
    return float("inf")


def _runs(world: World) -> list[str]:
    """How the runs of the Prefect server ended."""
    import httpx

    counts: dict[str, int] = {}
    try:
        rows = (
            httpx.post(f"{world.api}/flow_runs/filter", json={"limit": 200}, timeout=20)
            .raise_for_status()
            .json()
        )
    except httpx.HTTPError as error:
        return [f"runs: the Prefect server did not say ({error})"]
    for row in rows:
        name = row["state"]["name"] if row["state"] else "none"
        counts[name] = counts.get(name, 0) + 1
    return [
        f"runs on the Prefect server, by state: {', '.join(f'{n} {name}' for name, n in sorted(counts.items()))}"
    ]


def account(world: World, left: list[str]) -> list[Line]:
    """Every promise, with what breaks it."""
    workspace, record = world.workspace, world.record
    lives = lives_of(workspace)
    settled = [] if not any("still due" in odd for odd in record.odd) else [record.odd[-1]]
    return [
        account_examples(workspace, record.deliveries),
        account_waiting(workspace, record.deliveries),
        account_answers(record.answers, lives, record.down),
        account_withdrawn(lives, record.seen, workspace),
        account_decisions(lives, record.done),
        account_outside(world.before, world.outside()),
        account_users_files(workspace, USERS_FILES, staged=STAGED, secret=world.secret, remote=world.remote),
        account_whole(workspace, left, environment=world.environment),
        Line("in the end nothing is due", "", tuple(settled)),
    ]


def _no_pipes(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_fifo()]


if __name__ == "__main__":
    sys.exit(main())
