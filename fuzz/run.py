"""Runs fuzz targets under libFuzzer, two at a time, and says how it went: `make fuzz`, `make test-fuzz`.

A target fails when it crashes, hangs or takes too much memory, and also when it ran so seldom, or so
blindly, that it says nothing. What it failed on is kept, and printed with how to run it again.
"""

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"
AT_A_TIME = min(2, os.cpu_count() or 1)
# As long as inputs may become, here and nowhere else.
INPUT_BYTES_MAX = 4096
# One execution. Longer than a target waits for its server.
EXECUTION_SECONDS_MAX = 25
RSS_MIB_MAX = 4096
# For what comes before and after the time that it is given.
SPARE_SECONDS = 120
# In a second. The slowest target has some 300, and had 90 while the machine had six times too much to do.
EXECUTIONS_MIN = 20
# Places that it can tell, and of these such as it has reached. Without instruments there are none.
COUNTERS_MIN = 10_000
EDGES_MIN = 100
# Where it says what went wrong, and how much of that is printed.
FAULT = re.compile(r"panicked at|^==\d+== ?ERROR|^ALARM")
FAULT_LINES = 12


@dataclass(frozen=True)
class Run:
    """How one target's run ended, and what it said."""

    target: str
    code: int | None
    log: str

    def number(self, pattern: str) -> int:
        """The last number that it printed behind something, or 0."""
        found = re.findall(pattern, self.log)
        return int(found[-1]) if found else 0

    @property
    def executions(self) -> int:
        return self.number(r"stat::number_of_executed_units: (\d+)")

    @property
    def edges(self) -> int:
        return self.number(r" cov: (\d+)")

    def problem(self, seconds: int) -> str | None:
        """Why it says nothing, or nothing good."""
        counters = self.number(r"\((\d+) inline 8-bit counters\)")
        if self.code is None:
            return f"it did not end within {seconds + SPARE_SECONDS} s"
        if self.code != 0:
            return f"it failed (exit {self.code})"
        if counters < COUNTERS_MIN or self.edges < EDGES_MIN:
            return f"it is blind: {self.edges} edges reached, of {counters}"
        if self.executions < EXECUTIONS_MIN * seconds:
            return f"{self.executions} executions in {seconds} s say nothing"
        return None

    def fault(self) -> str:
        """What it said when it failed."""
        lines = self.log.splitlines()
        begin = next((at for at, line in enumerate(lines) if FAULT.search(line)), max(0, len(lines) - FAULT_LINES))
        return "\n".join(f"  {line}" for line in lines[begin : begin + FAULT_LINES])

    def input(self) -> Path | None:
        """What it failed on."""
        written = re.search(r"Test unit written to (\S+)", self.log)
        return Path(written[1]) if written else None


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=Path, required=True, help="what build.sh has built")
    parser.add_argument("--found", type=Path, required=True, help="where new inputs are kept")
    parser.add_argument("--failed", type=Path, required=True, help="where inputs are kept that a target failed on")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--input", type=Path, help="run this and nothing else")
    parser.add_argument("--goal", default="fuzz", help="what make calls this")
    parser.add_argument("targets", nargs="+")
    return parser.parse_args()


def environment(target: str) -> dict[str, str]:
    return os.environ | {"FUZZ_TARGET": target, "RUST_BACKTRACE": "1"}


def run(options: argparse.Namespace, target: str) -> Run:
    """Runs one target for its time, and writes down what it says."""
    found = options.found / target
    found.mkdir(parents=True, exist_ok=True)
    options.failed.mkdir(parents=True, exist_ok=True)
    command = [
        options.program, found, CORPUS / target,
        f"-max_total_time={options.seconds}", f"-max_len={INPUT_BYTES_MAX}",
        f"-timeout={EXECUTION_SECONDS_MAX}", f"-rss_limit_mb={RSS_MIB_MAX}",
        f"-artifact_prefix={options.failed.resolve() / target}-",
        "-detect_leaks=0", "-print_final_stats=1",
    ]
    path = options.found / f"{target}.log"
    with path.open("wb") as log:
        try:
            code = subprocess.run(
                command, env=environment(target), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                timeout=options.seconds + SPARE_SECONDS, check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
    return Run(target, code, path.read_text(errors="replace"))


def report(options: argparse.Namespace, run: Run) -> bool:
    """Says how it went, and whether that is well."""
    added = run.number(r"stat::new_units_added: +(\d+)")
    print(f"fuzz: {run.target}: {run.executions} executions in {options.seconds} s, "
          f"{run.edges} edges, {added} new inputs", flush=True)
    problem = run.problem(options.seconds)
    if problem is None:
        return True
    print(f"FAILED: fuzz: {run.target}: {problem}\n{run.fault()}")
    if path := run.input():
        print(f"  on {path.read_bytes()!r}, which is kept in {path}")
        print(f"  again: make {options.goal} FUZZ_TARGETS={run.target} INPUT={path}")
        print(f"  for good: copy it to fuzz/corpus/{run.target}, and cargo test --test fuzz_corpus fails", flush=True)
    return False


def main() -> int:
    options = parsed()
    if options.input:
        codes = [subprocess.run([options.program, options.input], env=environment(target), check=False).returncode
                 for target in options.targets]
        return 1 if any(codes) else 0
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        runs = pool.map(lambda target: run(options, target), options.targets)
        verdicts = [report(options, run) for run in runs]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
