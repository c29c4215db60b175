//! Which tests are in a folder of Python, and which in one of JavaScript.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{folder, root, suites::output_of};

/// The tests that unittest finds in these folders, by Python's own parser; none where there is no
/// Python.
pub(crate) fn python(folders: &[PathBuf]) -> Option<BTreeSet<String>> {
    let python = std::env::var_os("PYTHON").unwrap_or("python3".into());
    let mut command = Command::new(python);
    command
        .arg("-B")
        .arg(root().join("tests/catalogue/found_by_unittest.py"))
        .args(folders);
    Some(output_of(command)?.lines().map(str::to_owned).collect())
}

/// What is promised in that folder. A promise begins a line, as it does everywhere in these files.
pub(crate) fn javascript(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap();
        if name.ends_with(".test.mjs") {
            promises(&fs::read_to_string(&path).unwrap(), &mut found);
        }
    }
    found
}

fn promises(text: &str, found: &mut BTreeSet<String>) {
    let mut rest = String::new();
    // Behind the beginning of a comment, what is behind its end.
    for (at, part) in text.split("/*").enumerate() {
        let behind = if at == 0 {
            Some(part)
        } else {
            part.split_once("*/").map(|(_, it)| it)
        };
        rest.push_str(behind.unwrap_or_default());
    }
    for line in rest.lines() {
        if let Some((name, _)) = line
            .strip_prefix("promise('")
            .and_then(|it| it.split_once('\''))
        {
            found.insert(name.to_owned());
        }
    }
}

const PYTHON: &str = r#"
import unittest
from unittest import TestCase
from common import Case, Plain

def test_of_no_class():
    pass

class Tests(Case):
    def test_of_a_class(self):
        """
    def test_in_a_text(self):
        """
    # def test_in_a_comment(self):
    async def test_awaited(self):
        def test_within():
            pass
    @unittest.skip("for now")
    def test_skipped(self):
        pass
    @unittest.skipIf(True, "always")
    def test_always_skipped(self):
        pass
    @unittest.skipUnless(ROOM, "sometimes")
    def test_sometimes_skipped(self):
        pass
    def helper(self):
        pass

class Mixin:
    def test_inherited(self):
        pass

class Helper:
    def test_of_a_helper(self):
        pass

class Mixed(Mixin, Plain):
    async def test_never_awaited(self):
        pass

@unittest.skip("all of it")
class Skipped(TestCase):
    def test_of_a_skipped_class(self):
        pass

if False:
    class Never(TestCase):
        def test_of_a_class_that_is_not_made(self):
            pass
"#;

const COMMON: &str = "
import unittest
class Case(unittest.IsolatedAsyncioTestCase): pass
class Plain(unittest.TestCase): pass
class Tests(Case):
    def test_in_a_file_that_is_no_test(self): pass
";

#[test]
fn a_method_is_a_test_if_unittest_finds_and_runs_it() {
    let folder = folder(&[
        ("test_it.py", PYTHON),
        ("common.py", COMMON),
        (
            "test_not_here.py",
            "raise unittest.SkipTest('x')\nclass A(TestCase):\n  def test_beyond_a_raise(self): pass",
        ),
        (
            "below/test_below.py",
            "class A(TestCase):\n  def test_below(self): pass",
        ),
    ]);
    let Some(found) = python(&[folder.path().to_owned()]) else {
        return;
    };
    let expected = [
        "test_of_a_class",
        "test_awaited",
        "test_sometimes_skipped",
        "test_inherited",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
}

#[test]
fn a_promise_is_one_where_it_is_made_and_not_where_it_is_commented_out() {
    let tests = "promise('made', async () => {\n  promise('within', x);\n});\n\
                 // promise('in_a_comment', x);\n/*\npromise('in_a_long_one', x);\n*/\npromise('after', x);\n";
    let folder = folder(&[("a.test.mjs", tests), ("b.mjs", "promise('no_test', x);\n")]);
    let found = javascript(folder.path());
    assert_eq!(found, ["made", "after"].map(str::to_owned).into());
}
