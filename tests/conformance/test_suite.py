"""That nothing passes for a run of the suite which was none."""

import json
import tempfile
import unittest
from pathlib import Path

from gate import GateError
from suite import AGENT, run, server

INDEX = {AGENT: {"1.1.1": {"behavior": "OK", "behaviorClose": "OK"}}}
# Where its specification, which is the last argument, says that its reports go.
WRITES_AN_INDEX = f"""for spec; do :; done
echo '{json.dumps(INDEX)}' >"$(dirname "$spec")/index.json"
exit 1
"""


class Suite(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def program(self, script: str) -> Path:
        program = self.folder / "program"
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o755)
        return program

    def run_by(self, script: str) -> object:
        return run(self.program(script), "ws://127.0.0.1:1/", ["1.*"], self.folder / "out").indexes

    def test_the_index_counts_and_the_exit_code_does_not(self) -> None:
        self.assertEqual(self.run_by(WRITES_AN_INDEX), INDEX)

    def test_the_index_of_an_earlier_run_is_not_this_ones(self) -> None:
        self.run_by(WRITES_AN_INDEX)
        with self.assertRaisesRegex(GateError, "wrote no index"):
            self.run_by("exit 0")

    def test_a_server_that_does_not_start_is_an_error(self) -> None:
        for script in ("exit 0", "echo something else"):
            with (
                self.assertRaisesRegex(GateError, "ended at once"),
                open(self.folder / "log", "wb") as log,
                server(self.program(script), (), log),
            ):
                self.fail("it was taken for a server")

    def test_a_server_that_is_gone_afterwards_is_an_error(self) -> None:
        with (
            self.assertRaises(OSError),
            open(self.folder / "log", "wb") as log,
            server(self.program("echo listens on http://127.0.0.1:1/"), (), log),
        ):
            pass


if __name__ == "__main__":
    unittest.main()
