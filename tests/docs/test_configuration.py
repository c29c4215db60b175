"""configuration.md against the file that the program prints: the same keys, the same defaults."""

import re
import subprocess
import tempfile
import tomllib
import unittest

from markdown import ROOT, all_blocks, codes, rows
from sandbox import BINARY

UNITS = {"duration": r"\d+(ms|s|m|h)", "size": r"\d+(B|KiB|MiB|GiB)?"}


def written():
    """The tables of the page: key → unit, default, meaning."""
    found = {}
    for key, *rest in rows((ROOT / "docs/configuration.md").read_text()):
        if len(rest) == 3:
            assert codes(key)[0] not in found, key
            found[codes(key)[0]] = rest
    return found


def printed():
    """The default file: key → the text of its default, or None where it is commented out."""
    text = subprocess.run([BINARY, "config", "default"], capture_output=True, text=True, check=True).stdout
    tomllib.loads(text)
    keys, table = {}, ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            table = heading[1] + "."
        elif pair := re.fullmatch(r"(# )?(\w+) = (.+)", line):
            # What comes a second time is the example of a namespace.
            keys.setdefault(table + pair[2], None if pair[1] else pair[3])
    return keys


def check(arguments=(), environment=None):
    command = [BINARY, "config", "check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment or {})


class Configuration(unittest.TestCase):
    def test_every_key_is_there_with_its_default(self):
        page, program = written(), printed()
        self.assertGreaterEqual(len(program), 40)
        self.assertEqual(list(page), list(program), "the same keys in the same order")
        for key, default in program.items():
            self.assertEqual(page[key][1], "–" if default is None else f"`{default}`", key)

    def test_every_key_has_a_unit_and_a_meaning(self):
        for key, (unit, default, meaning) in written().items():
            self.assertTrue(unit and len(meaning) > 10, key)
            if unit in UNITS:
                self.assertRegex(default.strip('`"'), f"^{UNITS[unit]}$", key)
            for choice in re.findall(r'`"(\w+)"`', unit):
                # `token` needs something to check tokens by only when somebody asks.
                self.assertEqual(check([f"--set={key}={choice}"]).returncode, 0, f"{key} = {choice}")
        self.assertEqual(check(["--set=engine=neither"]).returncode, 2)

    def test_every_default_can_be_set_by_flag_and_by_environment(self):
        for key, (_, default, _) in written().items():
            if default == "–":
                continue
            value = default.strip("`").strip('"').strip("[]")
            variable = "SLABCAST_" + key.replace(".", "_").upper()
            self.assertEqual(check([f"--set={key}={value}"]).returncode, 0, key)
            self.assertEqual(check(environment={variable: value}).returncode, 0, variable)
        self.assertEqual(check(["--set=limits.no_such_key=1"]).returncode, 2)
        unknown = check(environment={"SLABCAST_LIMITS_NO_SUCH_KEY": "1"})
        self.assertEqual(unknown.returncode, 0)
        self.assertIn("SLABCAST_LIMITS_NO_SUCH_KEY is unknown", unknown.stderr)

    def test_a_flag_that_is_named_is_one(self):
        named = {flag for *_, meaning in written().values() for flag in re.findall(r"Flag: `(--[\w-]+)`", meaning)}
        usage = subprocess.run([BINARY, "serve", "--help"], capture_output=True, text=True, check=True).stdout
        flags = set(re.findall(r"^ +(--[\w-]+)", usage, re.M))
        self.assertEqual(named, flags - {"--config", "--set", "--help"})

    def test_every_toml_example_is_a_configuration(self):
        examples = all_blocks("toml")
        self.assertGreaterEqual(len(examples), 1)
        for block in examples:
            with self.subTest(block.where):
                self.assert_is_configuration(block.text)

    def assert_is_configuration(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            checked = check([f"--config={file.name}"])
        self.assertEqual(checked.returncode, 0, checked.stderr)
