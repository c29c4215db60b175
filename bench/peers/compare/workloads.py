"""What is run against every server."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase


class Kind(StrEnum):
    """What a workload is run for, and so which figures are shown of it."""

    FAN_OUT = "fan-out"
    LATENCY = "latency"
    MEMORY = "memory"
    CHURN = "churn"


# A share of whose capacity an open loop is run at.
OWN = "own"


@dataclass(frozen=True)
class Workload:
    name: str
    kind: Kind
    what: str
    connections: int
    publishers: int
    rooms: int = 1
    # Closed loop, or open: one of these three.
    window: int | None = None
    rate: float | None = None
    # Half of the capacity that OWN or some other server had in the workload `of`.
    half_of: str | None = None
    of: str = ""
    payload: int = 64
    churn: int = 0

    def bytes_on_their_way(self) -> int:
        """Payload that a closed loop may have waiting in the server and the sockets."""
        members = self.connections // self.rooms
        return members * self.publishers * (self.window or 0) * self.payload


# More than that is a test of the machine's memory. The headers, the sockets' own memory and a copy in
# the server come on top.
ON_THEIR_WAY_MAX = 1 << 30


def workloads(quick: bool) -> list[Workload]:
    """All of them. Quick ones only show that everything runs."""
    return list(quick_ones() if quick else full_ones())


def full_ones() -> Iterator[Workload]:
    yield from (chat(clients) for clients in (16, 32))
    for members in (100, 1_000, 10_000):
        for publishers in (1, 16):
            for window in (1, 16, 64):
                for payload in (64, 1024):
                    yield one_room(members, publishers, window, payload)
    yield from (many_rooms(1_000, 10, window) for window in (1, 16))
    yield from half_loaded(one_room(1_000, 16, 16, 64), joins=1_000)
    yield idle(10_000)
    yield churn(1_000, 0)
    yield churn(1_000, 1_000)


def quick_ones() -> Iterator[Workload]:
    yield chat(16)
    yield from (one_room(100, publishers, 16, 64) for publishers in (1, 16))
    yield one_room(100, 16, 64, 1024)
    yield many_rooms(10, 10, 1)
    yield from half_loaded(one_room(100, 16, 16, 64), joins=100)
    yield idle(200)
    yield churn(100, 100)


def chat(clients: int) -> Workload:
    """The shape of Bun's published benchmark."""
    return Workload(
        name=f"all{clients}",
        kind=Kind.FAN_OUT,
        what=f"{clients} clients that all talk to all, 64 messages of each on their way",
        connections=clients,
        publishers=clients,
        window=64,
    )


def one_room(members: int, publishers: int, window: int, payload: int) -> Workload:
    return Workload(
        name=f"f{members}-p{publishers}-w{window}-s{payload}",
        kind=Kind.FAN_OUT,
        what=f"one room of {members:,}, {publishers} publishing, {window} messages of {payload} bytes of each on their way",
        connections=members,
        publishers=publishers,
        window=window,
        payload=payload,
    )


def many_rooms(rooms: int, members: int, window: int) -> Workload:
    return Workload(
        name=f"rooms{rooms}x{members}-w{window}",
        kind=Kind.FAN_OUT,
        what=f"{rooms:,} rooms of {members}, one publishing in each, {window} of its messages on their way",
        connections=rooms * members,
        publishers=rooms,
        rooms=rooms,
        window=window,
    )


def half_loaded(capacity: Workload, joins: int) -> Iterator[Workload]:
    """Without anybody who comes and goes, and with."""
    for half_of, whose in ((OWN, "what the server itself"), ("bun", "what Bun")):
        calm = Workload(
            name=f"half-{half_of}",
            kind=Kind.LATENCY,
            what=f"open loop, {capacity.connections:,} members, at half of {whose} delivered in {capacity.name}",
            connections=capacity.connections,
            publishers=capacity.publishers,
            half_of=half_of,
            of=capacity.name,
        )
        yield calm
        yield replace(
            calm,
            name=f"{calm.name}-churn{joins}",
            what=f"{calm.what}, beside {joins:,} joins and leaves a second",
            churn=joins,
        )


def idle(connections: int) -> Workload:
    # The memory is read with all connections made and before the first message; what follows is as
    # little as a run can have.
    return Workload(
        name=f"idle{connections}",
        kind=Kind.MEMORY,
        what=f"{connections:,} connections in one room that say nothing",
        connections=connections,
        publishers=1,
        rate=2,
    )


def churn(connections: int, joins: int) -> Workload:
    return Workload(
        name=f"churn{joins}",
        kind=Kind.CHURN,
        what=f"{joins:,} joins and leaves a second beside {connections:,} members that hear 50 messages a second",
        connections=connections,
        publishers=1,
        rate=50,
        churn=joins,
    )


def select(every: list[Workload], patterns: list[str]) -> list[Workload]:
    """Those that a pattern names, and what they need to be run first."""
    chosen = {one.name for one in every if not patterns or any(fnmatchcase(one.name, pattern) for pattern in patterns)}
    needed = {one.of for one in every if one.name in chosen}
    return [one for one in every if one.name in chosen | needed]
