"""operations.md: its proxies stand in front of a server, its rules are read by promtool, and its figures
are those of performance.md."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import unittest
from pathlib import Path

import websockets
from markdown import ROOT, codes, rows, section, the_block
from sandbox import API_KEY, URL, SandboxTest, eventually, get

PAGE = "docs/operations.md"
NAME = "chat.example.org"
PROXY_URL = "http://127.0.0.1:80"
ENTRY = re.compile(r"\b(?:slabcast|process)_[a-z_]+\b")


def significant(value, digits=2):
    return float(f"{value:.{digits}g}")


class Capacity(unittest.TestCase):
    def test_the_figures_are_those_of_performance_md(self):
        measured = {name: ns for name, ns, *_ in rows((ROOT / "docs/performance.md").read_text())}
        planned = [row for row in rows(section(PAGE, "How much it carries")) if len(row) == 3]
        self.assertGreaterEqual(len(planned), 5)
        for name, ns, per_second in planned:
            self.assertEqual(measured.get(name), ns, f"{name}: {PAGE} against docs/performance.md")
            wanted = significant(1e9 / float(ns.replace(",", "")))
            self.assertEqual(int(per_second.replace(",", "")), wanted, name)


class Monitoring(SandboxTest):
    def test_every_metric_that_is_named_is_there(self):
        self.serve()
        # A counter with labels is there from its first event on: somebody comes and goes.
        self.run_command("slabcast publish lobby 'hello'")
        eventually("its end", lambda: "connections_closed_total{" in get("/metrics")[2])
        names = set(re.findall(r"^# TYPE (\S+)", get("/metrics")[2], re.M))
        named = set(ENTRY.findall((ROOT / PAGE).read_text())) - {"slabcast_frames_"}
        self.assertGreater(len(named), 15)
        self.assertEqual(named - names, set())

    def test_every_reason_that_is_named_is_one(self):
        reasons = set(re.findall(r'reason="(\w+)"', (ROOT / PAGE).read_text()))
        known = {code for row in rows(section("docs/protocol.md", "How connections end")) for code in codes(row[0])}
        self.assertGreaterEqual(len(reasons), 2)
        self.assertEqual(reasons - known, set())

    def test_the_rules_are_read_by_promtool(self):
        promtool = os.environ.get("PROMTOOL") or shutil.which("promtool")
        self.assertTrue(promtool, "run.sh finds promtool")
        rules = self.folder / "rules.yaml"
        rules.write_text(the_block(PAGE, "yaml").text)
        checked = subprocess.run([promtool, "check", "rules", rules], capture_output=True, text=True)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        self.assertIn(f"{rules.read_text().count('- alert:')} rules found", checked.stdout)


class Kernel(unittest.TestCase):
    def test_every_setting_of_the_kernel_is_one(self):
        settings = re.findall(r"^([a-z_.0-9]+) = \d", the_block(PAGE, "ini").text, re.M)
        settings += [code for code in codes(section(PAGE, "How much it carries")) if code.startswith("net.")]
        self.assertGreaterEqual(len(settings), 6)
        for name in settings:
            # Only where connections are tracked, and never in a network namespace of its own.
            if name.startswith("net.netfilter.") or name in ("net.ipv4.tcp_mem",):
                continue
            self.assertTrue(Path("/proc/sys", name.replace(".", "/")).exists(), name)


class Drain(unittest.TestCase):
    def test_who_ends_the_server_waits_longer_than_the_drain(self):
        deadline = re.search(r"`timeouts.drain_deadline` \((\d+) s\)", (ROOT / PAGE).read_text())
        default = re.search(r'^drain_deadline = "(\d+)s"', (ROOT / "src/config/default.toml").read_text(), re.M)
        self.assertEqual(deadline[1], default[1])
        waits = re.findall(r"(?:TimeoutStopSec=|--stop-timeout |GracePeriodSeconds: )(\d+)", (ROOT / PAGE).read_text())
        self.assertGreaterEqual(len(waits), 4)
        for wait in waits:
            self.assertGreater(int(wait), int(default[1]))
        unit = (ROOT / "packaging/slabcast.service").read_text()
        self.assertIn(f"TimeoutStopSec={waits[0]}\n", unit)


class Proxies(SandboxTest):
    """What is promised of a proxy is tried through each."""

    def setUp(self):
        super().setUp()
        self.serve(f"SLABCAST_API_KEY={API_KEY} slabcast --allowed-host {NAME}")

    def through_nginx(self):
        binary = os.environ.get("NGINX") or shutil.which("nginx")
        if binary is None:
            self.skipTest("nginx is not here")
        for folder in ("logs", "temp"):
            (self.folder / folder).mkdir()
        temporary = "\n".join(
            f"{kind}_temp_path temp/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        block = the_block(PAGE, "nginx").text
        (self.folder / "nginx.conf").write_text(
            f"daemon off; master_process off; pid nginx.pid; error_log stderr;\n"
            f"events {{ worker_connections 256; }}\nhttp {{\naccess_log off;\n{temporary}\n{block}}}\n"
        )
        arguments = f"-p {self.folder} -c {self.folder / 'nginx.conf'} -e stderr"
        self.run_command(f"{binary} -t {arguments}")
        return self.start(f"{binary} {arguments}")

    def through_caddy(self):
        binary = os.environ.get("CADDY") or shutil.which("caddy")
        if binary is None:
            self.skipTest("caddy is not here")
        # There is nobody here to get a certificate from.
        block = the_block(PAGE, "caddyfile").text.replace(NAME, f"http://{NAME}", 1)
        (self.folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + block.replace("    ", "\t"))
        arguments = f"--config {self.folder / 'Caddyfile'} --adapter caddyfile"
        self.run_command(f"{binary} validate {arguments}")
        return self.start(f"{binary} run {arguments}")

    def see_what_is_promised(self, proxy):
        def status(path, *more):
            command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "5", *more]
            command += ["-H", f"Host: {NAME}", PROXY_URL + path]
            return subprocess.run(command, capture_output=True, text=True).stdout

        eventually(f"the proxy serves: {proxy.output}", lambda: status("/healthz") == "200")
        # Where nobody is, the server would say 404 of `/send` by itself.
        self.start(f"curl -sN {URL}/sse/lobby")
        eventually("somebody in the room", lambda: json.loads(get("/status")[2])["subscriptions"] == 1)
        for inside in ("/send?room=lobby&message=x", "/status", "/metrics", "/api/info"):
            self.assertEqual(status(inside), "404", inside)
        self.assertEqual(status("/"), "200")
        asyncio.run(asyncio.wait_for(self.speak(), 20))
        # Nothing of a stream is held back.
        stream = self.start(f"curl -sN -H 'Host: {NAME}' {PROXY_URL}/sse/lobby?since=start")
        stream.prints(r"data: through the proxy\n\n")

    async def speak(self):
        """A page of the site's own origin connects, another's doesn't."""
        url = f"ws://{NAME}/ws/lobby"
        own = websockets.connect(url, host="127.0.0.1", port=80, origin=f"https://{NAME}", proxy=None)
        async with own as connection:
            await connection.send("through the proxy")
            self.assertEqual(await connection.recv(), "through the proxy")
        foreign = websockets.connect(url, host="127.0.0.1", port=80, origin="https://evil.example", proxy=None)
        with self.assertRaisesRegex(websockets.InvalidStatus, "403"):
            async with foreign:
                pass

    def test_nginx_passes_on_what_it_should_and_nothing_else(self):
        self.see_what_is_promised(self.through_nginx())

    def test_caddy_passes_on_what_it_should_and_nothing_else(self):
        self.see_what_is_promised(self.through_caddy())
