"""Every command in the pages is run, or it is said why not."""

import json
import re
import subprocess
import unittest

from commands import HOW, Ends, NotRun, Serves, Stays
from markdown import ROOT, all_blocks, commands as commands_of, the_block
from sandbox import URL, SandboxTest, api, eventually, get

# What has nothing to do with a server.
ALONE = re.compile(r"\bslabcast config |^ulimit ")

# What a reader has at hand.
MAKEFILE = "all:\n\t@echo made by the test\n"


def is_export(command):
    return command.startswith("export ")


class Commands(SandboxTest):
    def setUp(self):
        super().setUp()
        (self.folder / "Makefile").write_text(MAKEFILE)
        (self.folder / "app.log").write_text("the first line\n")

    def run_block(self, block):
        left_out = []
        for command in commands_of(block):
            how = NotRun(block.not_run) if block.not_run else HOW.get(command, Ends())
            if isinstance(how, NotRun):
                left_out.append(f"not run: {command}: {how.reason}")
                continue
            # The same program, which is built already.
            command = re.sub(r"cargo run --release( --)?", "slabcast", command).removesuffix("&").strip()
            with self.subTest(command):
                self.run_as(command, how)
        return left_out

    def run_as(self, command, how):
        if is_export(command):
            self.export(command)
            return
        if isinstance(how, Serves):
            self.serve(command).prints(how.prints)
            return
        if self.server is None and not ALONE.search(command):
            self.serve_readers()
        if isinstance(how, Stays):
            self.stay(command, how)
        else:
            printed = self.run_command(command, how.seconds)
            self.assertTrue(re.search(how.prints, printed), f"{command!r} printed {printed!r}")

    def serve_readers(self):
        """What the pages take for granted: a server, and somebody who is in the lobby."""
        self.serve()
        self.start(f"curl -sN {URL}/sse/lobby")
        eventually("a tab in the lobby", lambda: json.loads(get("/status")[2])["connections"] == 1)

    def stay(self, command, how):
        process = self.start(command, stdin_stays=True)
        if how.shown is not None:
            # It is shown again until it sees it, for when it is in the room only it knows.
            self.show_until(process, how)
        else:
            process.prints(how.prints)
        self.assertIsNone(process.exit_code_so_far(), f"{command!r} has ended: {process.output!r}")
        process.end()

    def show_until(self, process, how):
        room, text = how.shown
        body = json.dumps({"channel": room, "data": text}).encode()

        def shown():
            self.assertEqual(api("publish", body)[0], 200)
            return re.search(how.prints, process.output)

        eventually(f"{process.command!r} prints {how.prints!r}, not {process.output!r}", shown)

    def export(self, command):
        shell = subprocess.run(
            ["bash", "-euc", f"{command}; env -0"],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            check=True,
        )
        pairs = (pair.split("=", 1) for pair in shell.stdout.decode().split("\0") if pair)
        self.environment = dict(pairs)


def add_tests():
    """One test for each block, named by where it stands."""
    for block in all_blocks("sh"):

        def test(self, block=block):
            for line in self.run_block(block):
                print(line)

        name = re.sub(r"\W+", "_", block.where)
        setattr(Commands, f"test_{name}", test)


add_tests()


class TheTable(unittest.TestCase):
    def test_every_command_of_the_table_stands_in_a_page(self):
        written = {command for block in all_blocks("sh") for command in commands_of(block)}
        self.assertGreater(len(written), 30)
        self.assertEqual(set(HOW) - written, set())

    def test_every_block_says_what_it_is(self):
        unnamed = [block.where for block in all_blocks("", "shell", "bash", "console") if "$ " in block.text]
        self.assertEqual(unnamed, [])


class JavaScript(SandboxTest):
    def test_the_example_for_apps_hears_itself(self):
        self.serve()
        (self.folder / "node_modules").symlink_to(ROOT / "tests/clients/node_modules")
        # Browsers have one, and Node since 22.
        preload = "import ws from 'ws';\nglobalThis.WebSocket ??= ws;\n"
        (self.folder / "preload.mjs").write_text(preload)
        (self.folder / "example.mjs").write_text(the_block("README.md", "js").text)
        self.start("node --import ./preload.mjs example.mjs").prints(r"ada \{ text: 'hello' \}")
