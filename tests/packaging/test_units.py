"""The systemd units, as systemd reads them."""

import configparser
import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

from program import BINARY, ROOT, Server

UNITS = [ROOT / "packaging/slabcast.service", ROOT / "packaging/slabcast.socket"]
# What systemd calls it: 0 is nothing that could be taken away, 10 everything that there is.
EXPOSURE_MAX = 1.6


def unit(path):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(path.read_text())
    return parser


def values(section, key):
    """All lines of a key, which may stand there several times."""
    text = UNITS[0].read_text().split(f"[{section}]\n")[1].split("\n[")[0]
    return re.findall(rf"^{key}=(.*)$", text, re.M)


def members(group):
    """The system calls of one of systemd's groups, such as @system-service."""
    command = ["systemd-analyze", "syscall-filter", "--no-pager", group]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = set()
    for name in re.findall(r"^ +([@\w-]+)$", listed, re.M):
        found |= members(name) if name.startswith("@") else {name}
    return found


def allowed_calls():
    """What is left of the first line when those behind it were applied."""
    allowed = set()
    for line in values("Service", "SystemCallFilter"):
        names = line.removeprefix("~").split()
        meant = set().union(*(members(name) if name.startswith("@") else {name} for name in names))
        allowed = allowed - meant if line.startswith("~") else allowed | meant
    return allowed


class Units(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="slabcast-units-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def analyze(self, *arguments):
        """Runs systemd-analyze on copies whose program is the one that was built."""
        if shutil.which("systemd-analyze") is None:
            self.skipTest("systemd-analyze is not here")
        for path in UNITS:
            text = path.read_text().replace("/usr/bin/slabcast", str(BINARY))
            (self.folder / path.name).write_text(text)
        command = ["systemd-analyze", *arguments]
        quiet = os.environ | {"SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "LC_ALL": "C"}
        return subprocess.run(command, cwd=self.folder, env=quiet, capture_output=True, text=True, timeout=60)

    def test_systemd_has_nothing_to_say_against_them(self):
        checked = self.analyze("verify", "--man=no", "--recursive-errors=no", *(f"./{path.name}" for path in UNITS))
        self.assertEqual(checked.returncode, 0, checked.stderr)
        ours = [line for line in checked.stderr.splitlines() if "slabcast" in line]
        self.assertEqual(ours, [])

    def test_little_is_exposed(self):
        checked = self.analyze("security", "--offline=true", "--no-pager", "./slabcast.service")
        level = re.search(r"Overall exposure level for slabcast.service: ([\d.]+)", checked.stdout)
        self.assertTrue(level, checked.stdout + checked.stderr)
        self.assertLessEqual(float(level[1]), EXPOSURE_MAX, checked.stdout)

    def test_the_server_makes_no_system_call_that_the_unit_forbids(self):
        for tool in ("strace", "systemd-analyze"):
            if shutil.which(tool) is None:
                self.skipTest(f"{tool} is not here")
        trace = self.folder / "trace"
        settings = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(self.folder / "nobody")}
        argv = ["strace", "-f", "-qq", "-I2", "-o", trace, BINARY, "serve", "--listen", "127.0.0.1:0"]
        server = Server(argv, settings)
        self.addCleanup(server.end)
        url = "http://{}:{}".format(*server.address)
        stream = subprocess.Popen(["curl", "-sN", f"{url}/sse/lobby"], stdout=subprocess.DEVNULL)
        self.addCleanup(stream.wait)
        self.addCleanup(stream.kill)
        publish = [BINARY, "publish", "--url", url, "lobby", "hello"]
        subprocess.run(publish, check=True, env={}, stdout=subprocess.DEVNULL, timeout=20)
        scraped = subprocess.run(["curl", "-fs", f"{url}/metrics"], check=True, capture_output=True, text=True)
        self.assertIn("process_start_time_seconds", scraped.stdout)
        # strace hands it on to nobody, so the program itself is told.
        program = int(re.match(r"\d+", trace.read_text())[0])
        os.kill(program, signal.SIGTERM)
        server.ended()
        lines = trace.read_text().splitlines()
        calls = {call[1] for line in lines if (call := re.match(r"\d+ +(\w+)\(", line))}
        self.assertLessEqual({"accept4", "sendto", "prlimit64", "epoll_wait"}, calls)
        # The first one is systemd's own.
        self.assertEqual(calls - allowed_calls() - {"execve"}, set())
        families = {family[1] for line in lines if (family := re.search(r" socket\((AF_\w+)", line))}
        self.assertLessEqual(families, set(values("Service", "RestrictAddressFamilies")[0].split()))
        self.assertIn("AF_UNIX", families)
        writable_code = [line for line in lines if "PROT_WRITE|PROT_EXEC" in line]
        self.assertEqual(writable_code, [], "MemoryDenyWriteExecute")

    def test_what_it_starts_is_a_command_line_of_the_programs(self):
        program, *arguments = unit(UNITS[0])["Service"]["ExecStart"].split()
        self.assertEqual(program, "/usr/bin/slabcast")
        self.assertEqual(arguments[:2], ["serve", "--config"])
        file = ROOT / "src/config/default.toml"
        checked = subprocess.run(
            [BINARY, "config", "check", "--config", file], env={}, capture_output=True, text=True, timeout=10
        )
        self.assertEqual(checked.returncode, 0, checked.stderr)

    def test_the_socket_is_where_the_server_would_listen_by_itself(self):
        listen = unit(UNITS[1])["Socket"]["ListenStream"]
        default = re.search(r'^listen = "(.+)"', (ROOT / "src/config/default.toml").read_text(), re.M)[1]
        self.assertEqual(listen, default)
