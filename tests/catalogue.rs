//! docs/failures.md names tests. Each of them is there, and each row has one or says why not.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const PAGE: &str = "docs/failures.md";

/// Where tests are, and what their files end with.
const SOURCES: [&str; 2] = ["src", "tests"];
const ENDINGS: [&str; 3] = ["rs", "py", "mjs"];

/// What a cell begins with that has no test.
const WITHOUT: &str = "none";

/// Not ours, or no sources.
const FOREIGN: [&str; 2] = ["node_modules", ".venv"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The cells of each row that has a number.
fn rows() -> Vec<(u32, Vec<String>)> {
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let cells = |line: &str| -> Vec<String> {
        let inner = line
            .strip_prefix("| ")
            .and_then(|line| line.strip_suffix(" |"));
        let cells = inner.into_iter().flat_map(|inner| inner.split(" | "));
        cells.map(str::to_owned).collect()
    };
    let numbered = |mut cells: Vec<String>| {
        let number = cells.first()?.parse().ok()?;
        cells.remove(0);
        Some((number, cells))
    };
    page.lines().map(cells).filter_map(numbered).collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !FOREIGN.contains(&name) {
            files(&path, found);
        } else if path
            .extension()
            .is_some_and(|it| ENDINGS.iter().any(|ending| it == *ending))
        {
            found.push(path);
        }
    }
}

/// What stands between `open` and the `close` that belongs to it, if `text` begins with the one.
fn enclosed(text: &str, open: char, close: char) -> Option<&str> {
    let mut depth = 0_u32;
    let inner = text.strip_prefix(open)?;
    for (at, c) in inner.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close && depth == 0 {
            return Some(&inner[..at]);
        } else if c == close {
            depth -= 1;
        }
    }
    None
}

/// The identifier that `text` begins with.
fn identifier(text: &str) -> &str {
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    &text[..text.find(|c| !is_of_a_name(c)).unwrap_or(text.len())]
}

/// Whether an attribute, without its brackets, makes a test of the function behind it.
fn is_of_a_test(attribute: &str) -> bool {
    let path = attribute.split('(').next().unwrap_or_default();
    path.trim().rsplit("::").next() == Some("test")
}

/// The functions in a Rust file that an attribute makes a test, and that run without being asked for.
fn attributed(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("fn ").filter_map(|(at, _)| {
        let name = identifier(&text[at + 3..]);
        // Attributes stand between it and what came before.
        let before = text[..at].rfind(['}', ';', '{']).map_or(0, |end| end + 1);
        let attributes = text[before..at].split("#[").skip(1);
        let attributes: Vec<_> = attributes
            .filter_map(|behind| behind.rfind(']').map(|end| &behind[..end]))
            .collect();
        let is_test = attributes.iter().any(|it| is_of_a_test(it));
        let is_ignored = attributes.iter().any(|it| it.starts_with("ignore"));
        (is_test && !is_ignored && !name.is_empty()).then_some(name)
    })
}

/// The macros of a Rust file that make tests of the functions that they are given.
fn test_macros(text: &str) -> impl Iterator<Item = &str> {
    text.split("macro_rules! ").skip(1).filter_map(|behind| {
        let name = identifier(behind);
        let body = enclosed(behind[name.len()..].trim_start(), '{', '}')?;
        let mut attributes = body.split("#[").skip(1);
        let makes_tests =
            attributes.any(|behind| is_of_a_test(behind.split(']').next().unwrap_or_default()));
        makes_tests.then_some(name)
    })
}

/// What one of those macros is given in a Rust file.
fn listed<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let given = text.split(name).skip(1).filter_map(|behind| {
        let given = behind.strip_prefix('!')?.trim_start();
        enclosed(given, '(', ')').or_else(|| enclosed(given, '{', '}'))
    });
    given
        .flat_map(|given| given.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .filter(|name| !name.is_empty())
}

/// The names of all tests: in Rust by their attribute, or because a macro gives it to them; in Python
/// by their name; in JavaScript because they are promised.
fn tests() -> BTreeSet<String> {
    let mut found = Vec::new();
    for source in SOURCES {
        files(&root().join(source), &mut found);
    }
    let files = found.iter().map(|path| {
        let ending = path.extension().unwrap().to_str().unwrap();
        (ending, fs::read_to_string(path).unwrap())
    });
    let files: Vec<_> = files.collect();
    let rust = || files.iter().filter(|(ending, _)| *ending == "rs");
    let macros: BTreeSet<_> = rust().flat_map(|(_, text)| test_macros(text)).collect();
    let declared = rust().flat_map(|(_, text)| text.split("fn ").skip(1).map(identifier));
    let declared: BTreeSet<_> = declared.collect();
    let mut names = BTreeSet::new();
    for (ending, text) in &files {
        match *ending {
            "rs" => {
                names.extend(attributed(text));
                let given = macros.iter().flat_map(|name| listed(text, name));
                names.extend(given.filter(|name| declared.contains(name)));
            }
            "py" => {
                let methods = text.split("def ").skip(1).map(identifier);
                names.extend(methods.filter(|name| name.starts_with("test_")));
            }
            _ => names.extend(text.split("promise('").skip(1).map(identifier)),
        }
    }
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn every_test_that_the_page_of_failures_names_is_there() {
    let tests = tests();
    for (number, cells) in rows() {
        let held_by = cells.last().unwrap();
        if held_by.starts_with(WITHOUT) {
            continue;
        }
        for name in quoted(held_by) {
            assert!(
                tests.contains(name),
                "{PAGE}, row {number}: no test is called {name}"
            );
        }
    }
}

#[test]
fn every_failure_has_a_promise_and_a_test_or_a_reason() {
    let rows = rows();
    assert!(rows.len() > 60, "{} rows", rows.len());
    for (index, (number, cells)) in rows.iter().enumerate() {
        assert_eq!(*number as usize, index + 1, "rows are counted");
        let [failure, promise, held_by] = &cells[..] else {
            panic!("row {number} has other cells: {cells:?}");
        };
        assert!(
            failure.ends_with('.') && promise.ends_with('.'),
            "row {number}"
        );
        let (tests, reason) = match held_by.strip_prefix(WITHOUT) {
            Some(reason) => (0, reason),
            None => (quoted(held_by).count(), ""),
        };
        assert!(
            tests > 0 || reason.len() > 20,
            "row {number} has no test and no reason"
        );
    }
}

const SAMPLE: &str = r#"
fn helper() {}

/// With words.
#[test]
fn plain() { helper() }

#[tokio::test(flavor = "multi_thread")]
#[allow(dead_code, reason = "it is a sample")]
pub(crate) async fn asynchronous<F: Fanout>() {}

#[cfg(test)]
fn only_built_for_tests() {}

#[test]
#[ignore = "takes minutes"]
fn ignored() {}

macro_rules! on_both {
    ($($test:ident),*) => { $(#[tokio::test] async fn $test() {})* };
}
macro_rules! helpers { ($($name:ident),*) => { $(fn $name() {})* }; }
on_both!(given, asynchronous);
on_both! { in_braces }
helpers!(no_test);
fn given() {}
fn no_test() {}
"#;

#[test]
fn a_function_is_a_test_by_its_attribute_or_by_a_macro_and_not_by_its_name() {
    let by_attribute: Vec<_> = attributed(SAMPLE).collect();
    assert_eq!(by_attribute, ["plain", "asynchronous"]);
    let macros: Vec<_> = test_macros(SAMPLE).collect();
    assert_eq!(macros, ["on_both"]);
    let given: Vec<_> = listed(SAMPLE, "on_both").collect();
    assert_eq!(given, ["given", "asynchronous", "in_braces"]);
    let tests = tests();
    for helper in [
        "soon",
        "upgraded",
        "contained",
        "main",
        "setUp",
        "eventually",
    ] {
        assert!(!tests.contains(helper), "{helper}");
    }
}
