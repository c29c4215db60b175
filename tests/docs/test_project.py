"""What the pages say of the repository itself."""

import re
import tomllib
import unittest
from urllib.parse import unquote

from markdown import ALL_PAGES, ROOT, codes, rows, section

KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def slug(heading):
    """The anchor that a heading gets."""
    text = re.sub(r"`|\*|\[([^]]*)\]\([^)]*\)", r"\1", heading.lower()).strip()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def without_blocks(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


class Links(unittest.TestCase):
    def test_every_link_leads_somewhere(self):
        count = 0
        for page in ALL_PAGES:
            for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page.read_text())):
                if re.match(r"\w+:", target):
                    continue
                count += 1
                path, _, anchor = unquote(target).partition("#")
                file = (page.parent / path) if path else page
                with self.subTest(page=page.name, target=target):
                    self.assertTrue(file.exists())
                    if anchor and file.suffix == ".md":
                        text = without_blocks(file.read_text())
                        anchors = {slug(h) for h in re.findall(r"^#+ (.+)$", text, re.M)}
                        self.assertIn(anchor, anchors)
        self.assertGreater(count, 20)


class Contributing(unittest.TestCase):
    def test_every_target_of_the_makefile_is_explained(self):
        makefile = (ROOT / "Makefile").read_text()
        targets = re.findall(r"^([a-z-]+):.*## ", makefile, re.M)
        table = rows(section("CONTRIBUTING.md", "What there is to run"))
        explained = [codes(target)[0].removeprefix("make ") for target, _ in table]
        self.assertGreater(len(targets), 15)
        self.assertEqual(sorted(explained), sorted(targets))
        phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split()
        self.assertEqual(sorted(phony), sorted(targets))

    def test_the_rust_that_is_needed_is_the_one_of_the_manifest(self):
        manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
        self.assertIn(f"Rust {manifest['package']['rust-version']} ", (ROOT / "CONTRIBUTING.md").read_text())


class Changelog(unittest.TestCase):
    def test_it_has_the_form_that_it_names(self):
        text = (ROOT / "CHANGELOG.md").read_text()
        self.assertTrue(text.startswith("# Changelog\n"))
        versions = re.findall(r"^## (.+)$", text, re.M)
        self.assertEqual(versions[0], "[Unreleased]")
        released = []
        for heading in versions[1:]:
            fits = re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d{2}-\d{2}", heading)
            self.assertTrue(fits, heading)
            released.append(tuple(map(int, fits.groups())))
        self.assertEqual(released, sorted(set(released), reverse=True), "newest first")
        for kind in re.findall(r"^### (.+)$", text, re.M):
            self.assertIn(kind, KINDS)

    def test_a_version_of_the_manifest_is_in_it(self):
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
        self.assertIn(version, (ROOT / "CHANGELOG.md").read_text())
