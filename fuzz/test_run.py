"""When a fuzz target's run has failed, by a program that says what libFuzzer would."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

RUN = Path(__file__).resolve().parent / "run.py"

WELL = """\
INFO: Loaded 1 modules   (41234 inline 8-bit counters): 41234 [0x1, 0x2),
#5000\tDONE   cov: 1234 ft: 2345 corp: 67/8901b lim: 4096 exec/s: 5000 rss: 77Mb
stat::number_of_executed_units: 5000
stat::new_units_added:          61
"""

CRASH = """\
thread '<unnamed>' panicked at src/id.rs:7:5:
a name without a letter
==7== ERROR: libFuzzer: deadly signal
artifact_prefix='{failed}/names-'; Test unit written to {failed}/names-crash-1
"""


class Verdict(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="slabcast-fuzz-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def run_on(self, log, code=0):
        """Runs one target, for a second, that prints `log` and ends with `code`."""
        (self.folder / "log").write_text(log)
        program = self.folder / "program"
        program.write_text(f"#!/bin/sh\ncat {self.folder}/log >&2\nexit {code}\n")
        program.chmod(0o755)
        command = [sys.executable, "-B", RUN, "--program", program, "--seconds", "1", "--goal", "test-fuzz",
                   "--found", self.folder / "found", "--failed", self.folder, "names"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout

    def test_a_run_that_says_something_passes(self):
        code, said = self.run_on(WELL)
        self.assertEqual(code, 0, said)
        self.assertEqual(said, "fuzz: names: 5000 executions in 1 s, 1234 edges, 61 new inputs\n")

    def test_a_crash_fails_and_says_on_what_and_how_to_run_it_again(self):
        (self.folder / "names-crash-1").write_bytes(b"\0\n")
        code, said = self.run_on(WELL + CRASH.format(failed=self.folder), code=77)
        self.assertEqual(code, 1, said)
        for part in ("a name without a letter", r"b'\x00\n'",
                     f"make test-fuzz FUZZ_TARGETS=names INPUT={self.folder}/names-crash-1"):
            self.assertIn(part, said)

    def test_a_run_without_instruments_fails(self):
        for seeing, blind in (("41234 inline", "41 inline"), ("cov: 1234", "cov: 1")):
            code, said = self.run_on(WELL.replace(seeing, blind))
            self.assertEqual(code, 1, said)
            self.assertIn("it is blind", said)

    def test_a_run_that_did_little_fails(self):
        code, said = self.run_on(WELL.replace("units: 5000", "units: 19"))
        self.assertEqual(code, 1, said)
        self.assertIn("19 executions in 1 s say nothing", said)

    def test_a_run_that_says_nothing_fails(self):
        self.assertEqual(self.run_on("")[0], 1)


if __name__ == "__main__":
    unittest.main()
