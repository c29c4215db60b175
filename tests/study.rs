//! `slabcast study` from end to end: both engines as processes of their own, real load, a report.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use serde_json::Value;

fn study(arguments: &[&str], out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_slabcast"))
        .args(["study", "--out"])
        .arg(out)
        .args(arguments)
        .output()
        .unwrap()
}

#[track_caller]
fn assert_succeeded(output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
}

#[track_caller]
fn count(outcome: &Value, key: &str) -> u64 {
    outcome[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} in {outcome}"))
}

/// Every outcome in the raw data, with its cell's and its engine's name.
fn outcomes(results: &Value) -> Vec<(String, &Value)> {
    let mut outcomes = Vec::new();
    for cell in results["cells"].as_array().unwrap() {
        assert_eq!(cell["problem"], Value::Null);
        for round in cell["rounds"].as_array().unwrap() {
            for run in round["runs"].as_array().unwrap() {
                let name = format!("{} {}", cell["cell"]["id"], run["engine"]);
                outcomes.push((name, &run["outcome"]));
            }
        }
    }
    outcomes
}

#[test]
fn a_small_study_runs_both_engines_and_writes_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let tiny = [
        "--quick",
        "--members-max=32",
        "--seconds=0.1",
        "--repetitions=2",
    ];
    let output = study(&tiny, dir.path());
    assert_succeeded(&output);
    let report = fs::read_to_string(dir.path().join("report.html")).unwrap();
    let json = fs::read_to_string(dir.path().join("results.json")).unwrap();
    let results: Value = serde_json::from_str(&json).unwrap();

    let outcomes = outcomes(&results);
    let cells = results["cells"].as_array().unwrap().len();
    assert!(cells >= 9, "{cells} cells");
    assert_eq!(outcomes.len(), cells * 2 * 2, "two engines, two rounds");
    for (name, outcome) in &outcomes {
        assert!(count(outcome, "delivered") > 0, "{name}");
        let expected = count(outcome, "expected");
        assert_eq!(count(outcome, "delivered"), expected, "{name}");
        for fault in ["lost", "duplicated", "reordered", "disconnected"] {
            assert_eq!(count(outcome, fault), 0, "{name}: {fault}");
        }
        assert!(
            outcome["server"]["cpu_seconds"].as_f64().unwrap() > 0.0,
            "{name}"
        );
    }
    for engine in ["lock", "hub"] {
        assert!(report.contains(&format!("<td>{engine}</td>")), "{engine}");
        assert!(outcomes.iter().any(|(name, _)| name.contains(engine)));
    }
    assert!(report.contains("0 lost, 0 duplicated"), "the account");

    let again = tempfile::tempdir().unwrap();
    let file = dir.path().join("results.json");
    let redrawn = study(&["--report-from", file.to_str().unwrap()], again.path());
    assert_succeeded(&redrawn);
    let redrawn = fs::read_to_string(again.path().join("report.html")).unwrap();
    assert_eq!(redrawn, report);
}

#[test]
fn what_can_not_be_written_is_said_before_anything_is_run() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let output = study(&["--quick"], &file.join("below"));
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("can't be written") && stderr.contains("--out"),
        "{stderr}"
    );
}

#[test]
fn a_study_of_nothing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let output = study(&["--only=memory", "--members-max=10"], dir.path());
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("--members-max"), "{stderr}");
}

/// The processes that a process has started and that are still there.
fn children(pid: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
    {
        let list = fs::read_to_string(task.unwrap().path().join("children"));
        let list = list.unwrap_or_default();
        children.extend(
            list.split_whitespace()
                .map(|pid| pid.parse::<u32>().unwrap()),
        );
    }
    children
}

#[track_caller]
fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_study_that_is_ended_takes_its_server_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut study: Child = Command::new(env!("CARGO_BIN_EXE_slabcast"))
        .args([
            "study",
            "--quick",
            "--members-max=10",
            "--seconds=20",
            "--out",
        ])
        .arg(dir.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = wait_until("no server was started", || {
        children(study.id()).first().copied()
    });
    let is_there = || Path::new(&format!("/proc/{server}")).exists();
    assert!(is_there());
    let pid = Pid::from_raw(study.id().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let status = wait_until("the study did not end", || study.try_wait().unwrap());
    assert_eq!(status.code(), Some(128 + 15));
    wait_until("the server did not end", || (!is_there()).then_some(()));
}
