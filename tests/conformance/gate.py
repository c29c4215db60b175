"""What a run of the suite must have said: judged by its index, and by nothing else."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# Of each case: its verdict on what was exchanged, on how it was closed, and the server's close code.
Index = Mapping[str, Mapping[str, Any]]

# How a case may have been closed, besides what an expectation says.
CLEAN = frozenset({"OK", "INFORMATIONAL"})
BEHAVIORS = ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED")


class GateError(Exception):
    """Why there is nothing to judge."""


@dataclass(frozen=True)
class Expected:
    """What every case must be, but for those that are named."""

    cases: int
    usual: str = "OK"
    unusual: Mapping[str, str] = field(default_factory=dict)
    # The code of the server's close frame, for cases in which a limit of ours shows in nothing else.
    close_codes: Mapping[str, int] = field(default_factory=dict)

    def of(self, case: str) -> str:
        return self.unusual.get(case, self.usual)


@dataclass(frozen=True)
class Problem:
    case: str
    what: str


def merged(indexes: Iterable[Mapping[str, Index]]) -> dict[str, Mapping[str, Any]]:
    """One index of several runs, each of which had one agent and cases of its own."""
    cases: dict[str, Mapping[str, Any]] = {}
    for index in indexes:
        if len(index) != 1:
            raise GateError(f"an index of one agent was expected, and it is of {sorted(index) or 'none'}")
        (own,) = index.values()
        if twice := own.keys() & cases.keys():
            raise GateError(f"in two indexes: {', '.join(in_order(twice))}")
        cases |= own
    return cases


def problems(index: Index, expected: Expected) -> list[Problem]:
    """Everything in which they differ. A case that did not run is as bad as one that failed."""
    found = [problem for case in in_order(index) for problem in of_case(case, index[case], expected)]
    missing = (expected.unusual.keys() | expected.close_codes.keys()) - index.keys()
    found += [Problem(case, "did not run") for case in in_order(missing)]
    if len(index) != expected.cases:
        found.append(Problem("all", f"{len(index)} cases ran instead of {expected.cases}"))
    return found


def of_case(case: str, result: Mapping[str, Any], expected: Expected) -> list[Problem]:
    found = []
    behavior, closing = result.get("behavior"), result.get("behaviorClose")
    if behavior != expected.of(case):
        found.append(Problem(case, f"is {behavior} instead of {expected.of(case)}"))
    if closing not in CLEAN | {expected.of(case)}:
        found.append(Problem(case, f"was closed {closing}"))
    code = expected.close_codes.get(case)
    if code is not None and result.get("remoteCloseCode") != code:
        found.append(Problem(case, f"was closed with {result.get('remoteCloseCode')} instead of {code}"))
    return found


def in_order(cases: Iterable[str]) -> list[str]:
    """1.2 before 1.10."""
    return sorted(cases, key=lambda case: [int(number) for number in case.split(".")])


def table(index: Index, seconds: Mapping[str, float]) -> str:
    """Each group's cases by verdict, and all of them; `seconds` says which groups there are."""
    rows: list[tuple[str, ...]] = [("group", "cases", *BEHAVIORS, "FAILED", "seconds")]
    for group, took in seconds.items():
        rows.append((group, *counts(index[case] for case in index if case.split(".")[0] == group), f"{took:.1f}"))
    rows.append(("all", *counts(index.values()), f"{sum(seconds.values()):.1f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows)


def counts(results: Iterable[Mapping[str, Any]]) -> list[str]:
    by_behavior = Counter(result.get("behavior") for result in results)
    known = [by_behavior[behavior] for behavior in BEHAVIORS]
    # Whatever else it may be called.
    failed = by_behavior.total() - sum(known)
    return [str(by_behavior.total()), *(str(number) for number in known), str(failed)]
