"""One run: a server on one core, the load on another, and what the machine did meanwhile."""

import json
import os
import re
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from peers import Peer
from workloads import Workload

START_SECONDS = 15
END_SECONDS = 5
GREETING = re.compile(rb"listens on http://127\.0\.0\.1:(\d+)/")


@dataclass(frozen=True)
class Bench:
    """How a run is made."""

    slabcast: Path
    server_core: int
    load_core: int
    seconds: float
    warm_up: float
    # From the load's start to giving the run up.
    limit_seconds: float
    log: TextIO


@dataclass(frozen=True)
class Attempt:
    outcome: dict[str, Any] | None
    problem: str | None
    # Of the machine's CPU time, by its host.
    stolen: float


def attempt(bench: Bench, peer: Peer, workload: Workload, rate: float | None) -> Attempt:
    before = cpu_times()
    try:
        with server(bench, peer) as (pid, port):
            outcome, problem = load(bench, workload, rate, pid, port), None
    except RunError as error:
        outcome, problem = None, str(error)
    return Attempt(outcome, problem, stolen(before, cpu_times()))


class RunError(Exception):
    """Why there is no outcome."""


@contextmanager
def server(bench: Bench, peer: Peer) -> Iterator[tuple[int, int]]:
    """A server's process id and port, while it runs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLABCAST_")}
    child = subprocess.Popen(
        pinned(bench.server_core, *peer.command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=bench.log,
        env=environment | {"PORT": "0"},
    )
    try:
        yield child.pid, port_of(child)
    finally:
        end(child)


def port_of(child: subprocess.Popen[bytes]) -> int:
    """What the server says first is where it listens."""
    assert child.stdout
    said = b""
    deadline = time.monotonic() + START_SECONDS
    while not (match := GREETING.search(said)):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([child.stdout], [], [], left)[0]:
            raise RunError(f"the server did not say where it listens within {START_SECONDS} s")
        news = os.read(child.stdout.fileno(), 4096)
        if not news:
            raise RunError("the server ended at once (servers.log has what it said)")
        said += news
    return int(match[1])


def load(bench: Bench, workload: Workload, rate: float | None, pid: int, port: int) -> dict[str, Any]:
    url = f"ws://127.0.0.1:{port}/ws/{{room}}"
    command = (str(bench.slabcast), "bench", url, "--speech=plain", "--json", f"--server-pid={pid}", *flags(bench, workload, rate))
    child = subprocess.Popen(
        pinned(bench.load_core, *command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        stdout, stderr = child.communicate(timeout=bench.limit_seconds)
    except subprocess.TimeoutExpired:
        raise RunError(f"not done within {bench.limit_seconds:.0f} s") from None
    finally:
        end(child)
    try:
        # Also with exit code 1: then something was lost, and the outcome says what.
        return json.loads(stdout)
    except json.JSONDecodeError:
        lines = stderr.strip().splitlines() or [f"slabcast bench ended with {child.returncode}"]
        raise RunError(lines[-1]) from None


def flags(bench: Bench, workload: Workload, rate: float | None) -> list[str]:
    # Everybody has to have had a message before the next one is sent: else a server that is quick to
    # answer the publisher has more on its way than the window says, and more to put into each write.
    drive = ["--heard-by=everybody", f"--window={workload.window}"] if rate is None else [f"--rate={rate:.3f}"]
    return [
        f"--connections={workload.connections}",
        f"--publishers={workload.publishers}",
        f"--rooms={workload.rooms}",
        f"--payload={workload.payload}",
        f"--churn={workload.churn}",
        f"--warm-up={bench.warm_up * 1000:.0f}ms",
        f"--duration={bench.seconds * 1000:.0f}ms",
        *drive,
    ]


def pinned(core: int, *command: str) -> list[str]:
    # It becomes the command, so that the process id is the command's.
    return ["taskset", "--cpu-list", str(core), *command]


def end(child: subprocess.Popen[Any]) -> None:
    """Asks it to end, waits a while, and then does not ask any more."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    for pipe in (child.stdout, child.stderr):
        if pipe:
            pipe.close()


def cpu_times() -> list[int]:
    """User, nice, system, idle, iowait, irq, softirq, steal; guests' time is part of user's."""
    with open("/proc/stat") as stat:
        return [int(field) for field in stat.readline().split()[1:9]]


def stolen(before: list[int], after: list[int]) -> float:
    spent = [later - earlier for earlier, later in zip(before, after)]
    return spent[7] / max(sum(spent), 1)
