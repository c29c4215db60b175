"""Completions and manual page against what `--help` says."""

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from program import run

COMPLETE = r"""
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
COMPREPLY=()
_slabcast slabcast "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""


def subcommands(path=()):
    """Every subcommand below `path`, as its words."""
    listed = re.search(r"^Commands:\n((?:  .*\n)+)", run(*path, "--help"), re.M)
    found = []
    for name in re.findall(r"^  (\w[\w-]*)", listed[1] if listed else "", re.M):
        if name != "help":
            found += [(*path, name), *subcommands((*path, name))]
    return found


def options(path):
    """The long options of a subcommand."""
    return set(re.findall(r"^ +(?:-\w, )?(--[a-z][\w-]*)", run(*path, "--help").split("Examples:")[0], re.M))


class Manual(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.subcommands = subcommands()
        assert {("serve",), ("config", "check"), ("man",)} <= set(cls.subcommands), cls.subcommands

    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="slabcast-manual-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def script(self, shell):
        script = self.folder / shell
        script.write_text(run("completions", shell))
        return script

    def complete(self, *words):
        command = ["bash", "-euc", COMPLETE, "complete", self.script("bash"), "slabcast", *words]
        return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())

    def test_bash_completes_every_subcommand_and_option(self):
        names = {path[0] for path in self.subcommands if len(path) == 1}
        self.assertEqual(self.complete("") & names, names)
        self.assertEqual(self.complete("ben"), {"bench"})
        for path in [(), *self.subcommands]:
            self.assertEqual(self.complete(*path, "--"), options(path), path)
        self.assertIn("hub", self.complete("serve", "--engine", ""))

    def test_nobody_is_offered_what_is_inner_business(self):
        self.assertNotIn("exec-guard", self.complete(""))
        self.assertNotIn("exec-guard", run("man"))

    def test_zsh_and_fish_are_told_of_every_subcommand_and_option(self):
        zsh, fish = run("completions", "zsh"), run("completions", "fish")
        for path in self.subcommands:
            self.assertRegex(zsh, rf"'{path[-1]}:|\({path[-1]}\)", path)
            self.assertRegex(fish, rf'-a "{path[-1]}"', path)
            for option in options(path):
                self.assertRegex(zsh, rf"'\*?{option}[=\[+]|'\(.*\)\*?{option}|{option}\[", f"{path} {option}")
                self.assertRegex(fish, rf"-l {option[2:]}\b", f"{path} {option}")

    def test_every_script_is_one(self):
        for shell in ("bash", "zsh", "fish"):
            script = self.script(shell)
            self.assertGreater(script.stat().st_size, 1000)
            if shutil.which(shell):
                subprocess.run([shell, "-n", script], check=True)

    def test_there_is_a_page_for_each_subcommand_with_all_of_its_options(self):
        run("man", "--into", self.folder)
        for path in [(), *self.subcommands]:
            page = self.folder / ("-".join(["slabcast", *path]) + ".1")
            text = page.read_text().replace("\\-", "-")
            for option in options(path):
                self.assertIn(option, text, page.name)
        first = (self.folder / "slabcast.1").read_text()
        self.assertEqual(first, run("man"))
        for path in self.subcommands:
            if len(path) == 1:
                self.assertIn(f"slabcast\\-{path[0]}(1)", first)

    def test_man_shows_the_page(self):
        if shutil.which("man") is None:
            self.skipTest("man is not here")
        run("man", "--into", self.folder)
        shown = subprocess.run(
            ["man", "--warnings", "-l", self.folder / "slabcast-bench.1"],
            env={"MANWIDTH": "100", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertIn("--churn", shown.stdout)
        self.assertEqual(shown.stderr, "")
