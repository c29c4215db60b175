"""What came out: runs as lines of JSON, and medians of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any, Self


@dataclass(frozen=True)
class Run:
    workload: str
    repetition: int
    peer: str
    # Attempts that were not counted because the host took too much of the CPU.
    discarded: int = 0
    stolen: float = 0.0
    # Why there is no outcome: it failed, or it was not tried.
    problem: str | None = None
    unfit: str | None = None
    outcome: dict[str, Any] | None = None

    def faults(self) -> dict[str, int]:
        """What did not come as it should."""
        if not self.outcome:
            return {}
        names = ("lost", "duplicated", "reordered", "strayed", "disconnected")
        faults = {name: self.outcome[name] for name in names if self.outcome[name]}
        if self.outcome["is_one_order"] is False:
            faults["more than one order"] = 1
        return faults


Measure = Callable[[dict[str, Any]], float | None]


def throughput(outcome: dict[str, Any]) -> float:
    return outcome["delivered"] / outcome["seconds"]


def server_cpu_ns(outcome: dict[str, Any]) -> float | None:
    """CPU time per delivery, of all threads of the server."""
    used = outcome["server"]
    return used["cpu_ns_per_delivery"] if used and outcome["delivered"] else None


def server_cores(outcome: dict[str, Any]) -> float | None:
    used = outcome["server"]
    return used["cpu_seconds"] / outcome["seconds"] if used else None


def bytes_per_connection(outcome: dict[str, Any]) -> float | None:
    """Resident memory with all connections made, before any message."""
    used = outcome["server"]
    if not used:
        return None
    grown = used["resident_bytes_connected"] - used["resident_bytes_before"]
    return grown / outcome["plan"]["connections"]


def latency_ms(which: str, quantile: str) -> Measure:
    def measure(outcome: dict[str, Any]) -> float | None:
        latency = outcome[which]
        return latency[f"{quantile}_us"] / 1e3 if latency and latency["count"] else None

    return measure


def joins_per_second(outcome: dict[str, Any]) -> float | None:
    latency = outcome["join_latency"]
    return latency["count"] / outcome["seconds"] if latency else None


@dataclass(frozen=True)
class Spread:
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Self | None:
        known = [value for value in values if value is not None]
        return cls(median(known), min(known), max(known)) if known else None


class Results:
    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self.runs = list(runs)

    def of(self, workload: str, peer: str) -> list[Run]:
        return [run for run in self.runs if (run.workload, run.peer) == (workload, peer)]

    def spread(self, workload: str, peer: str, measure: Measure) -> Spread | None:
        return Spread.of(measure(run.outcome) for run in self.of(workload, peer) if run.outcome)

    def ratio(self, workload: str, peer: str, to: str, measure: Measure) -> Spread | None:
        """One peer's figures over another's of the same repetition."""
        others = {run.repetition: measure(run.outcome) for run in self.of(workload, to) if run.outcome}
        ratios = []
        for run in self.of(workload, peer):
            mine = measure(run.outcome) if run.outcome else None
            other = others.get(run.repetition)
            if mine is not None and other:
                ratios.append(mine / other)
        return Spread.of(ratios)
