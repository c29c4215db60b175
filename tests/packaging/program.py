"""The program, as whoever packages it starts it."""

import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("SLABCAST_BIN", ROOT / "target/release/slabcast")).resolve()
DEADLINE_S = 20.0
POLL_EVERY_S = 0.02
LISTENS = re.compile(r"slabcast listens on http://(\S+):(\d+)/")


def run(*arguments):
    """What the program prints, which must end well."""
    command = [BINARY, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE_S, env={}).stdout


def refused(argv, environment):
    """The exit code, and what is said on standard error."""
    ended = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
    return ended.returncode, ended.stderr


class Server:
    """A server that has said where it listens."""

    def __init__(self, argv, environment):
        self._output = tempfile.TemporaryFile()
        self._process = subprocess.Popen(argv, env=environment, stdout=self._output, stderr=subprocess.STDOUT)
        self.address = self._address()

    @property
    def output(self):
        return os.pread(self._output.fileno(), 1 << 20, 0).decode(errors="replace")

    def _address(self):
        end = time.monotonic() + DEADLINE_S
        while True:
            said = LISTENS.search(self.output)
            if said:
                return said[1], int(said[2])
            if self._process.poll() is not None or time.monotonic() > end:
                self.end()
                raise AssertionError("it does not say where it listens")
            time.sleep(POLL_EVERY_S)

    def stop(self, number=signal.SIGTERM):
        """Ends it in order."""
        self._process.send_signal(number)
        self.ended()

    def ended(self):
        """Sees that it ends in order."""
        code = self._process.wait(DEADLINE_S)
        assert code == 0, (code, self.output)

    def end(self):
        """Ends what is left of it."""
        self._process.kill()
        self._process.wait()
        self._output.close()
