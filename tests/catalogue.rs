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

/// The names of all tests: what is declared as a function in Rust or in Python, or promised in
/// JavaScript.
fn tests() -> BTreeSet<String> {
    let mut found = Vec::new();
    for source in SOURCES {
        files(&root().join(source), &mut found);
    }
    let mut names = BTreeSet::new();
    for path in found {
        let text = fs::read_to_string(path).unwrap();
        for before in ["fn ", "def ", "promise('"] {
            for behind in text.split(before).skip(1) {
                let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = behind.find(|c| !is_of_a_name(c)).unwrap_or(behind.len());
                names.insert(behind[..end].to_owned());
            }
        }
    }
    names
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
