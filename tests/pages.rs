//! The protocol's page against the code: what it says of the ends of connections. The commands and
//! examples of the pages are tried by `tests/docs/`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

use std::{collections::BTreeMap, fs, path::Path};

use slabcast::close::CloseReason;

/// The cells of each row of the table under `heading`.
fn table(heading: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, behind) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = behind.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = |row: &str| {
        row.trim_matches('|')
            .split('|')
            .map(str::trim)
            .map(str::to_owned)
            .collect()
    };
    rows.map(cells).collect()
}

#[test]
fn every_reason_is_on_the_page_with_its_codes() {
    let mut written = BTreeMap::new();
    for row in table("How connections end") {
        for label in row[0].split(", ") {
            let codes = (row[1].clone(), row[2].clone());
            written.insert(label.trim_matches('`').to_owned(), codes);
        }
    }
    assert_eq!(written.len(), CloseReason::ALL.len(), "{written:?}");
    for reason in CloseReason::ALL {
        let (centrifugo, plain) = &written[reason.label()];
        let says = |cell: &str, code: u16| match cell.parse::<u16>() {
            Ok(written) => assert_eq!(written, code, "{}", reason.label()),
            // A dash, where it can't come to that; or that the code is the peer's own.
            Err(_) => assert!(
                cell == "–" || cell.starts_with("its own") || cell.contains("or "),
                "{cell}"
            ),
        };
        says(
            centrifugo.split(',').next().unwrap(),
            reason.centrifugo_code(),
        );
        says(plain.split(',').next().unwrap(), reason.plain_code());
    }
}
