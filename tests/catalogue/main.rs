//! docs/failures.md names tests. Each of them is there and is run by `make test`, and each row has one
//! or says why not.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

mod rust;
mod scripts;
mod suites;

const PAGE: &str = "docs/failures.md";

/// What a cell begins with that has no test.
const WITHOUT: &str = "none";

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

/// The names of all tests that `make test` runs; none where something is missing that says it.
fn tests() -> Option<BTreeSet<String>> {
    let suites = suites::all()?;
    assert!(suites.crates.len() >= 3, "{suites:?}");
    assert!(suites.python.len() >= 5, "{suites:?}");
    assert!(suites.javascript.len() >= 3, "{suites:?}");
    let mut names = scripts::python(&suites.python)?;
    for directory in &suites.javascript {
        names.extend(scripts::javascript(directory));
    }
    for package in &suites.crates {
        names.extend(rust::tests(package));
    }
    Some(names)
}

#[test]
fn every_test_that_the_page_of_failures_names_is_run() {
    let Some(tests) = tests() else { return };
    for (number, cells) in rows() {
        let held_by = cells.last().unwrap();
        if held_by.starts_with(WITHOUT) {
            continue;
        }
        for name in quoted(held_by) {
            assert!(
                tests.contains(name),
                "{PAGE}, row {number}: `make test` runs no test that is called {name}"
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

/// Files in a folder, by their names.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path: PathBuf = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}
