"""The Dockerfile, as far as it can be tried without an engine: what it copies, what it runs, and how."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import tomllib
import unittest
from pathlib import Path

from program import BINARY, ROOT, Server, refused

DOCKERFILE = (ROOT / "Dockerfile").read_text()
SECRET = "0123456789abcdef0123456789abcdef"


def instructions():
    """Each instruction and what stands behind it, with continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M).replace("\\\n", " ")
    return [line.split(None, 1) for line in text.splitlines() if line]


def only(name):
    found = [rest for word, rest in instructions() if word == name]
    assert len(found) == 1, f"{name}: {found}"
    return found[0]


def environment():
    """What the image sets, and nothing else."""
    pairs = dict(pair.split("=", 1) for pair in shlex.split(only("ENV")))
    return pairs | {"PATH": os.environ["PATH"]}


def argv():
    """What the image starts."""
    entry, *arguments = json.loads(only("ENTRYPOINT")) + json.loads(only("CMD"))
    assert entry == "slabcast"
    return [str(BINARY), *arguments]


class Container(unittest.TestCase):
    def copied(self):
        sources = []
        for word, rest in instructions():
            if word == "COPY" and "--from" not in rest:
                sources += rest.split()[:-1]
        return sources

    def test_everything_that_is_copied_is_there_and_not_ignored(self):
        sources = self.copied()
        self.assertGreater(len(sources), 5)
        kept = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M))
        self.assertIn("*\n", (ROOT / ".dockerignore").read_text())
        for source in sources:
            self.assertTrue((ROOT / source).exists(), source)
        self.assertEqual(kept, set(sources))

    def test_everything_that_the_build_reads_is_copied(self):
        sources = self.copied()
        manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
        needed = {"Cargo.toml", "Cargo.lock", "build.rs"} | {f"benches/{bench['name']}.rs" for bench in manifest["bench"]}
        needed |= {f"examples/{example['name']}.rs" for example in manifest["example"]}
        for source in (ROOT / "src").rglob("*.rs"):
            text = re.split(r"#\[cfg\((?:all\(doctest, .*\)|test)\)\]", source.read_text())[0]
            for included in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', text):
                needed.add(str((source.parent / included).resolve().relative_to(ROOT)))
            for included in re.findall(r'concat!\(env!\("CARGO_MANIFEST_DIR"\), "/([^"]+)"', text):
                needed.add(included)
        self.assertGreater(len(needed), 10)
        for file in needed:
            is_copied = any(file == source or file.startswith(f"{source}/") for source in sources)
            self.assertTrue(is_copied, f"{file} is not copied")

    def test_cargo_finds_all_that_it_wants_among_what_is_copied(self):
        with tempfile.TemporaryDirectory() as build:
            for source in self.copied():
                there = Path(build, source)
                there.parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                copy(ROOT / source, there)
            # It looks for all files of the manifest before it misses the program, and builds nothing.
            ask = ["cargo", "check", "--locked", "--bin", "no-such-program"]
            found = subprocess.run(ask, cwd=build, capture_output=True, text=True)
            self.assertIn("no bin target named `no-such-program`", found.stderr)

    def test_the_compiler_is_the_one_of_the_manifest(self):
        manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
        self.assertIn(f"FROM rust:{manifest['package']['rust-version']}-", DOCKERFILE)

    def test_it_runs_as_nobody_special(self):
        user = only("USER").split(":")[0]
        self.assertTrue(int(user) > 999)
        self.assertRegex(DOCKERFILE, rf"useradd .*--uid {user} ")
        self.assertLess(DOCKERFILE.index("\nUSER "), DOCKERFILE.index("\nENTRYPOINT "))

    def test_it_does_not_start_without_tokens(self):
        code, said = refused(argv(), environment())
        self.assertEqual(code, 2)
        self.assertIn("tokens.hmac_secret", said)

    def test_with_tokens_it_listens_everywhere_is_healthy_and_stops_in_order(self):
        settings = environment() | {"SLABCAST_TOKENS_HMAC_SECRET": SECRET}
        self.assertEqual(settings["SLABCAST_LISTEN"], f"0.0.0.0:{only('EXPOSE')}")
        # The same on a port that is free.
        settings["SLABCAST_LISTEN"] = "0.0.0.0:0"
        server = Server(argv(), settings)
        self.addCleanup(server.end)
        host, port = server.address
        self.assertEqual(host, "0.0.0.0")
        check = json.loads(only("HEALTHCHECK").split("CMD", 1)[1])
        here = [part.replace(f"/{only('EXPOSE')} ", f"/{port} ") for part in check]
        self.assertNotEqual(check, here)
        self.assertEqual(subprocess.run(here, timeout=10).returncode, 0)
        server.stop(getattr(signal, only("STOPSIGNAL")))
        self.assertNotEqual(subprocess.run(here, timeout=10, stderr=subprocess.DEVNULL).returncode, 0)
