"""Autobahn|Testsuite as a process, against a server that is one, too."""

import json
import os
import re
import select
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gate import GateError, Index

START_SECONDS = 15
END_SECONDS = 10
# A group takes seconds; group 9 a minute on a busy machine.
GROUP_LIMIT_SECONDS = 300
GREETING = re.compile(rb"listens on http://127\.0\.0\.1:(\d+)/")
AGENT = "slabcast"


@contextmanager
def server(binary: Path, flags: Sequence[str], log: IO[bytes]) -> Iterator[int]:
    """The port of a server with these flags and a clean environment, while it runs. It must be sane
    afterwards: nobody is in it any more, it made no mistake of its own, and it ends when it is told to."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLABCAST_")}
    command = [str(binary), "serve", "--listen", "127.0.0.1:0", *flags]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment)
    try:
        port = port_of(child)
        yield port
        check_aftermath(port)
    finally:
        code = end(child)
    if code != 0:
        raise GateError(f"the server ended with {code} ({log.name} has what it said)")


def port_of(child: subprocess.Popen[bytes]) -> int:
    """What the server says first is where it listens."""
    assert child.stdout
    said = b""
    deadline = time.monotonic() + START_SECONDS
    while not (match := GREETING.search(said)):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([child.stdout], [], [], left)[0]:
            raise GateError(f"the server did not say where it listens within {START_SECONDS} s")
        news = os.read(child.stdout.fileno(), 4096)
        if not news:
            raise GateError("the server ended at once")
        said += news
    return int(match[1])


def check_aftermath(port: int) -> None:
    deadline = time.monotonic() + END_SECONDS
    while (left := status(port))["connections"] or left["subscriptions"]:
        if time.monotonic() > deadline:
            raise GateError(f"{left['connections']} connections and {left['subscriptions']} members are left behind")
        time.sleep(0.05)
    if mistakes := left["closed"]["internal"]:
        raise GateError(f"{mistakes} sessions ended by the server's own fault")


def status(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=END_SECONDS) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def end(child: subprocess.Popen[bytes]) -> int:
    """Asks it to end, waits a while, and then does not ask any more."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
    code = child.wait()
    if child.stdout:
        child.stdout.close()
    return code


@dataclass(frozen=True)
class Group:
    """What one run of the suite brought."""

    indexes: dict[str, Index]
    seconds: float


def run(wstest: Path, url: str, cases: Sequence[str], out: Path) -> Group:
    """Runs these cases. Its exit code says nothing about them, so it is not looked at."""
    out.mkdir(parents=True, exist_ok=True)
    index = out / "index.json"
    # One of an earlier run would pass for this one's.
    index.unlink(missing_ok=True)
    spec = out / "spec.json"
    servers = [{"agent": AGENT, "url": url}]
    spec.write_text(json.dumps({"outdir": str(out), "servers": servers, "cases": cases, "exclude-cases": [], "exclude-agent-cases": {}}))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    began = time.monotonic()
    with open(out / "wstest.log", "wb") as log:
        command = [str(wstest), "-m", "fuzzingclient", "-s", str(spec)]
        try:
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=out, timeout=GROUP_LIMIT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise GateError(f"{', '.join(cases)}: not done within {GROUP_LIMIT_SECONDS} s ({log.name} has what it said)") from None
    if not index.exists():
        raise GateError(f"{', '.join(cases)}: the suite wrote no index ({log.name} has what it said)")
    return Group(json.loads(index.read_text()), time.monotonic() - began)
