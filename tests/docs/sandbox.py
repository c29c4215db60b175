"""Where the commands of the pages are run: a folder of their own, and a network of their own, in
which port 8080 is free and nobody else is.

run.sh puts the tests into a network namespace. Nothing here sleeps to let something happen: every
wait is for an event, and gives up at a deadline with what was seen instead.
"""

import contextlib
import fcntl
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from markdown import ROOT

BINARY = Path(os.environ.get("SLABCAST_BIN", ROOT / "target/release/slabcast")).resolve()
DEADLINE_S = 20.0
POLL_EVERY_S = 0.02
API_KEY = "the-key-of-the-documentation"
URL = "http://127.0.0.1:8080"
LISTENS = re.compile(r"slabcast listens on http://\S+:8080/")

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def bring_up_loopback():
    """A new network namespace has a loopback device that is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))[1]
        if not flags & IFF_UP:
            up = struct.pack("16sH14x", b"lo", flags | IFF_UP)
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, up)


def eventually(what, probe, seconds=DEADLINE_S):
    """The first truthy answer of `probe`."""
    end = time.monotonic() + seconds
    while True:
        seen = probe()
        if seen:
            return seen
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}; last seen: {seen!r}")
        time.sleep(POLL_EVERY_S)


def get(path, host=None, **headers):
    """Status, headers and text of the answer to a GET."""
    request = urllib.request.Request(URL + path, headers=headers)
    if host:
        request.add_header("Host", host)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.headers, refusal.read().decode()


def api(method, body):
    """Status and text of the answer to an API request, whose body is bytes of JSON."""
    headers = {"X-API-Key": API_KEY, "Content-Type": "application/json"}
    request = urllib.request.Request(f"{URL}/api/{method}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


class Process:
    """A command line in a shell and a process group of its own, which ends with the test."""

    def __init__(self, command, folder, environment, stdin_stays=False):
        self.command = command
        # A file takes everything at once: a pipe that nobody reads would hold the command up.
        self._output = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env=environment,
            # One that nothing comes from, and that does not end: nobody types.
            stdin=subprocess.PIPE if stdin_stays else subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def output(self):
        return os.pread(self._output.fileno(), 1 << 20, 0).decode(errors="replace")

    def prints(self, pattern):
        """Waits until the output has something that fits."""

        def probe():
            return re.search(pattern, self.output) or self._process.poll() is not None

        eventually(f"{self.command!r} prints {pattern!r}, not {self.output!r}", probe)
        assert re.search(pattern, self.output), f"{self.command!r} has ended, and printed {self.output!r}"

    def exit_code_so_far(self):
        return self._process.poll()

    def exit_code(self, seconds=DEADLINE_S):
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.command!r} has not ended within {seconds} s: {self.output!r}") from None

    def signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def end(self):
        """Ends what is left of it."""
        self.signal(signal.SIGKILL)
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self._output.close()


class SandboxTest(unittest.TestCase):
    """A test with a folder, an environment, and at most one server on port 8080."""

    def setUp(self):
        bring_up_loopback()
        temporary = tempfile.TemporaryDirectory(prefix="slabcast-docs-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self._own_programs(self.folder / "bin")
        # Variables that the server would take for settings stay outside.
        outside = {name: value for name, value in os.environ.items() if not name.startswith("SLABCAST_")}
        self.environment = outside | {
            "HOME": str(self.folder),
            "KEY": API_KEY,
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
            "PATH": f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{outside['PATH']}",
            "TERM": "dumb",
        }
        self.server = None

    def tearDown(self):
        self.stop_server()

    def _own_programs(self, folder):
        """`slabcast`, as it is after `cargo install`."""
        folder.mkdir()
        (folder / "slabcast").symlink_to(BINARY)

    def start(self, command, stdin_stays=False):
        process = Process(command, self.folder, self.environment, stdin_stays)
        self.addCleanup(process.end)
        return process

    def run_command(self, command, seconds=DEADLINE_S):
        """Runs it to its end, which must be a good one, and returns what it printed."""
        process = self.start(command)
        code = process.exit_code(seconds)
        self.assertEqual(code, 0, f"{command!r} printed {process.output!r}")
        return process.output

    def serve(self, command=None):
        """Starts a server in place of the one that there is, and waits until it serves."""
        self.stop_server()
        self.server = self.start(command or f"SLABCAST_API_KEY={API_KEY} slabcast")
        self.server.prints(LISTENS)
        status, _, body = get("/healthz")
        self.assertEqual((status, body), (200, "ok\n"))
        return self.server

    def stop_server(self):
        """Ends it as a service manager would, and sees that it ends in order."""
        server, self.server = self.server, None
        if server is not None:
            server.signal(signal.SIGTERM)
            self.assertEqual(server.exit_code(), 0, server.output)
