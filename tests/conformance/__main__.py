"""Runs Autobahn|Testsuite against slabcast: `make conformance`, and docs/conformance.md.

A plain room of one is an echo: what a client says comes back to it. Each group of cases has a room of
its own; what is left of one case in it could make the next one fail, and none pass.
"""

import argparse
import shlex
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import suite
from broken_echo import broken_echo
from gate import Expected, GateError, Index, Problem, in_order, merged, problems, table

HERE = Path(__file__).resolve().parent
PROFILE = HERE / "profile.toml"

# What is wrong with a text shows here at its end, and not within the frame: RFC 6455, 8.1, leaves the
# moment open.
LATE = {"6.4.3": "NON-STRICT", "6.4.4": "NON-STRICT"}
# These have no right answer: much behind a close frame, and codes that nobody has defined.
OPEN = {"7.1.6": "INFORMATIONAL", "7.13.1": "INFORMATIONAL", "7.13.2": "INFORMATIONAL"}
UNDEFINED = {"7.13.1": 1002, "7.13.2": 1002}
# Of the broken echo: all texts of more than 125 bytes.
BROKEN = frozenset(f"1.1.{number}" for number in range(3, 9))


@dataclass(frozen=True)
class Round:
    """Groups of cases against a server of its own."""

    name: str
    flags: tuple[str, ...]
    groups: tuple[str, ...]
    expected: Expected


ROUNDS = (
    Round(
        "the conformance profile",
        ("--config", str(PROFILE)),
        ("1", "2", "3", "4", "5", "6", "7", "9", "10"),
        Expected(301, unusual=LATE | OPEN, close_codes=UNDEFINED),
    ),
    # Everything but group 9, whose messages are over the limit. So is the one of 7.1.6 (256 KiB).
    Round(
        "the defaults",
        (),
        ("1", "2", "3", "4", "5", "6", "7", "10"),
        Expected(247, unusual=LATE | OPEN, close_codes=UNDEFINED | {"7.1.6": 1009}),
    ),
    # An extension that is offered and never taken.
    Round("compression, with the defaults", (), ("12", "13"), Expected(216, usual="UNIMPLEMENTED")),
)


def main() -> int:
    options = parsed()
    # So that what ends this program ends the server that runs, too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        with open(options.out / "servers.log", "wb") as log:
            told = control(options, log)
            print(f"A broken echo is noticed: {told}", flush=True)
            found = [problem for engine in options.engines for one in ROUNDS for problem in play(options, log, engine, one)]
    except (GateError, OSError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 1
    if found:
        print(f"conformance: {len(found)} problems; {options.out} has a report of each case", file=sys.stderr)
    return 1 if found else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slabcast", type=Path, required=True, metavar="FILE", help="the server")
    parser.add_argument("--wstest", type=Path, required=True, metavar="FILE", help="the suite's program")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the suite's reports")
    parser.add_argument("--engines", nargs="+", default=["lock"], choices=("lock", "hub"), help="one after the other; the default is lock")
    options = parser.parse_args()
    options.out = options.out.resolve()
    return options


def play(options: argparse.Namespace, log: Any, engine: str, one: Round) -> list[Problem]:
    """Runs a round's groups, prints what came out, and returns what should not have."""
    folder = options.out / engine / one.name.replace(" ", "-").replace(",", "")
    groups: dict[str, suite.Group] = {}
    with suite.server(options.slabcast, ("--engine", engine, *one.flags), log) as port:
        for group in one.groups:
            url = f"ws://127.0.0.1:{port}/ws/autobahn-{group}"
            groups[group] = suite.run(options.wstest, url, [f"{group}.*"], folder / group)
        index = merged(group.indexes for group in groups.values())
        found = problems(index, one.expected)
        flags = f" ({shlex.join(Path(flag).name for flag in one.flags)})" if one.flags else ""
        print(f"\n{one.name}{flags}, engine {engine}")
        print(table(index, {name: group.seconds for name, group in groups.items()}))
        for behavior in ("NON-STRICT", "INFORMATIONAL"):
            print_cases(behavior, index)
        for problem in found:
            print(f"FAILED: {problem.case} {problem.what}", flush=True)
    return found


def print_cases(behavior: str, index: Index) -> None:
    if cases := [case for case in in_order(index) if index[case].get("behavior") == behavior]:
        print(f"{behavior}: {', '.join(cases)}", flush=True)


def control(options: argparse.Namespace, log: Any) -> str:
    """Runs a few cases against a server that is broken on purpose, and says which ones the gate
    refused: those that must be refused, and no other one."""
    expected = Expected(16)
    with (
        suite.server(options.slabcast, ROUNDS[0].flags, log) as port,
        broken_echo(port) as broken,
    ):
        group = suite.run(options.wstest, f"ws://127.0.0.1:{broken}/ws/broken", ["1.*"], options.out / "control")
    refused: Mapping[str, Problem] = {problem.case: problem for problem in problems(merged([group.indexes]), expected)}
    if refused.keys() != BROKEN:
        raise GateError(f"of a broken echo the gate refuses {sorted(refused)} instead of {sorted(BROKEN)}: it proves nothing")
    return ", ".join(in_order(refused))


sys.exit(main())
