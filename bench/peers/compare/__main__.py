"""Compares slabcast with other broadcast servers: `make bench-peers`, and bench/README.md.

Every repetition of a workload gives each server its turn (A B C, B C A, …), a new process each time,
pinned to one core, with the load on another one.
"""

import argparse
import json
import os
import resource
import shlex
import signal
import sys
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from peers import ROOT, Peer, every_peer, machine_facts
from processes import Attempt, Bench, attempt
from report import report
from results import Results, Run, throughput
from workloads import ON_THEIR_WAY_MAX, OWN, Workload, select, workloads

# Above this share of stolen CPU time, a run says more about the host than about the server.
STOLEN_MAX = 0.08
# How often it is tried again; a host that is that busy will stay so.
RETRIES = 3


def main() -> int:
    options = parsed()
    if options.again:
        return write_again(options.again, options.quick)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return refuse("two cores are needed, one for the server and one for the load")
    allow_descriptors()
    # So that what ends this program ends the server that runs, too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))

    every = every_peer(options.slabcast, options.target)
    unknown = set(options.peers) - {peer.name for peer in every}
    if unknown:
        return refuse(f"there is no peer {', '.join(sorted(unknown))}: there are {', '.join(peer.name for peer in every)}")
    wanted = [peer for peer in every if not options.peers or peer.name in options.peers]
    left_out = {peer.name: missing for peer in wanted if (missing := peer.missing())}
    peers = [peer for peer in wanted if peer.name not in left_out]
    chosen = select(workloads(options.quick), options.only)
    if not peers or not chosen:
        return refuse("there is nothing to run: no workload has such a name, or every server is left out")
    for name, missing in left_out.items():
        print(f"LEFT OUT: {name}: {missing}")

    options.out.mkdir(parents=True, exist_ok=True)
    with open(options.out / "runs.jsonl", "w") as raw, open(options.out / "servers.log", "w") as log:
        bench = Bench(options.slabcast, cores[0], cores[1], options.seconds, options.warm_up, options.limit, log)
        comparison = Comparison(peers, chosen, options.repetitions, bench, header(options, bench, peers, left_out), raw, options.out / "report.md")
        comparison.run()
    print(f"The table is in {options.out / 'report.md'}, every run in {options.out / 'runs.jsonl'}.")
    if options.strict and (left_out or not comparison.is_clean()):
        return refuse("something is missing, failed or was lost (see the notes in the table)", code=1)
    return 0


def parsed() -> argparse.Namespace:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
    parser = argparse.ArgumentParser(prog="compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {"type": lambda text: text.split(","), "default": []}
    parser.add_argument("--only", metavar="NAME,…", help="workloads, such as all32,f1000-*", **names)
    parser.add_argument("--peers", metavar="NAME,…", help="servers, such as slabcast,bun,rawfan", **names)
    parser.add_argument("--repetitions", type=positive(int), metavar="N", help="of each workload (default 5)")
    parser.add_argument("--seconds", type=positive(float), metavar="N", help="measured in each run (default 2)")
    parser.add_argument("--warm-up", type=positive(float), metavar="N", help="seconds of load before that (default 0.5)")
    parser.add_argument("--limit", type=positive(float), default=90, metavar="N", help="seconds until a run is given up (default 90)")
    parser.add_argument("--quick", action="store_true", help="small workloads, once, only to show that all of it runs")
    parser.add_argument("--strict", action="store_true", help="fail if any server is left out or fails, or anything is lost")
    parser.add_argument("--out", type=Path, default=target / "bench-peers", metavar="DIR", help="for the table and the raw runs")
    parser.add_argument("--again", type=Path, metavar="DIR", help="write the table of the runs in DIR again, and run nothing")
    parser.add_argument("--slabcast", type=Path, default=target / "release/slabcast", metavar="FILE", help="server and load generator")
    options = parser.parse_args()
    options.target = target
    options.repetitions = options.repetitions or (1 if options.quick else 5)
    options.seconds = options.seconds or (0.5 if options.quick else 2.0)
    options.warm_up = options.warm_up or (0.2 if options.quick else 0.5)
    return options


def positive(kind: type) -> Any:
    def parse(text: str) -> Any:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError("more than 0 is needed")
        return value

    return parse


def refuse(why: str, code: int = 2) -> int:
    print(f"compare: {why}", file=sys.stderr)
    return code


def allow_descriptors() -> None:
    """As many as may be, for the servers to inherit: not every one asks for them itself."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def header(options: argparse.Namespace, bench: Bench, peers: list[Peer], left_out: dict[str, str]) -> dict[str, Any]:
    return {
        "started": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["bench/peers/compare", *sys.argv[1:]]),
        "machine": machine_facts(),
        "peers": {peer.name: {"what": peer.what, "version": peer.version()} for peer in peers},
        "left_out": left_out,
        "omitted": {},
        "repetitions": options.repetitions,
        "seconds": options.seconds,
        "server_core": bench.server_core,
        "load_core": bench.load_core,
    }


@dataclass
class Comparison:
    peers: list[Peer]
    workloads: list[Workload]
    repetitions: int
    bench: Bench
    header: dict[str, Any]
    raw: TextIO
    page: Path

    def run(self) -> None:
        self.results = Results()
        self.header["omitted"] = {one.name: why for one in self.workloads if (why := self.omission(one))}
        self.put(self.header)
        print(f"{len(self.workloads)} workloads, {len(self.peers)} servers, {self.repetitions} times: about {self.minutes():.0f} minutes")
        for number, workload in enumerate(self.workloads, start=1):
            if workload.name in self.header["omitted"]:
                continue
            print(f"{number}/{len(self.workloads)} {workload.name}: {workload.what}", flush=True)
            for repetition in range(self.repetitions):
                self.round(workload, repetition)
            # After each, so that a comparison that is stopped has a table of what it did.
            self.page.write_text(report(self.header, self.workloads[:number], self.results))
        self.page.write_text(report(self.header, self.workloads, self.results))

    def minutes(self) -> float:
        """From what starting, connecting and ending were seen to take."""
        runs = [one for one in self.workloads if one.name not in self.header["omitted"]]
        each = sum(self.bench.seconds + self.bench.warm_up + 1.5 + one.connections / 4000 for one in runs)
        return each * len(self.peers) * self.repetitions / 60

    def omission(self, workload: Workload) -> str | None:
        if workload.bytes_on_their_way() > ON_THEIR_WAY_MAX:
            return f"{workload.bytes_on_their_way() / 2**30:.1f} GiB would be on their way, and {ON_THEIR_WAY_MAX / 2**30:.0f} may."
        if workload.half_of not in (None, OWN) and workload.half_of not in {peer.name for peer in self.peers}:
            return f"{workload.half_of} is not there to tell the rate."
        return None

    def round(self, workload: Workload, repetition: int) -> None:
        """Everybody once. Another one begins in every round, so that what a run leaves behind is no
        one server's disadvantage."""
        first = repetition % len(self.peers)
        for peer in self.peers[first:] + self.peers[:first]:
            if any(run.problem or run.unfit for run in self.results.of(workload.name, peer.name)):
                continue
            run = self.once(workload, repetition, peer)
            self.results.runs.append(run)
            self.put(asdict(run))
            if why := run.problem or run.unfit:
                print(f"  {peer.name}: {why}", flush=True)

    def once(self, workload: Workload, repetition: int, peer: Peer) -> Run:
        rate, unfit = self.rate(workload, peer)
        run = Run(workload.name, repetition, peer.name, unfit=unfit)
        if unfit:
            return run
        for discarded in range(RETRIES + 1):
            tried: Attempt = attempt(self.bench, peer, workload, rate)
            run = replace(run, discarded=discarded, stolen=tried.stolen)
            if tried.problem:
                return replace(run, problem=tried.problem)
            if tried.outcome and not tried.outcome["delivered"]:
                # What the warm-up sent was still on its way when the load gave up.
                return replace(run, problem="so slow that nothing of the measured part came in time")
            if tried.stolen <= STOLEN_MAX:
                return replace(run, outcome=tried.outcome)
        # The last one was no better than the others.
        return replace(run, discarded=RETRIES + 1)

    def rate(self, workload: Workload, peer: Peer) -> tuple[float | None, str | None]:
        """Messages a second of an open loop, or why this server is not asked for them."""
        if workload.half_of is None:
            return workload.rate, None
        of = peer.name if workload.half_of == OWN else workload.half_of
        reference = self.results.spread(workload.of, of, throughput)
        own = self.results.spread(workload.of, peer.name, throughput)
        if not reference or not own:
            return None, f"there is no run of {workload.of} to tell the rate"
        wanted = reference.median / 2
        if own.median < wanted:
            return None, f"{wanted:,.0f} deliveries/s are more than it does ({own.median:,.0f})"
        return wanted / workload.connections, None

    def put(self, line: dict[str, Any]) -> None:
        print(json.dumps(line), file=self.raw, flush=True)

    def is_clean(self) -> bool:
        return not any(run.problem or run.faults() for run in self.results.runs)


def write_again(folder: Path, quick: bool) -> int:
    lines = [json.loads(line) for line in (folder / "runs.jsonl").read_text().splitlines()]
    runs = [Run(**line) for line in lines[1:]]
    names = {run.workload for run in runs} | set(lines[0]["omitted"])
    chosen = [one for one in workloads(quick) if one.name in names]
    (folder / "report.md").write_text(report(lines[0], chosen, Results(runs)))
    return 0


sys.exit(main())
