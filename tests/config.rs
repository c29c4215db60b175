//! How the program takes its configuration: what it prints, what it refuses, and with which exit
//! code.

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// The program with these arguments and an environment that says nothing.
fn slabcast(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slabcast"));
    command.args(args).env_clear();
    command
}

fn run(args: &[&str]) -> Output {
    output(&mut slabcast(args))
}

/// Runs to the end. A program that serves where it should have refused has none, so it gets a
/// deadline; what it prints fits in a pipe, so nobody has to read meanwhile.
fn output(command: &mut Command) -> Output {
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut program = command
        .spawn()
        .expect("the program was built for this test");
    let deadline = Instant::now() + Duration::from_secs(10);
    while program
        .try_wait()
        .expect("the program is our child")
        .is_none()
    {
        if Instant::now() > deadline {
            program.kill().expect("the program is our child");
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    program
        .wait_with_output()
        .expect("the program is our child")
}

/// A file of that text, which lasts as long as the directory.
fn file(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("the temporary directory can be written to");
    let path = directory.path().join("slabcast.toml");
    std::fs::write(&path, text).expect("the directory was just made");
    (directory, path)
}

#[track_caller]
fn assert_valid(output: &Output) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert_eq!(output.stdout, b"configuration is valid\n");
    assert_eq!(error, "");
}

#[track_caller]
fn assert_refused(output: &Output, said: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert_eq!(output.stdout, b"");
    for part in said {
        assert!(error.contains(part), "{part:?} is missing in {error}");
    }
}

#[test]
fn config_default_prints_a_file_that_config_check_accepts() {
    let printed = run(&["config", "default"]);
    assert_eq!(printed.status.code(), Some(0));
    let text = String::from_utf8(printed.stdout).unwrap();
    assert_eq!(text, slabcast::config::DEFAULT_TOML);

    let (_directory, path) = file(&text);
    assert_valid(&run(&[
        "config",
        "check",
        "--config",
        path.to_str().unwrap(),
    ]));
}

#[test]
fn config_check_accepts_the_defaults() {
    assert_valid(&run(&["config", "check"]));
}

#[test]
fn unknown_key_is_refused_with_the_nearest_known_one() {
    let (_directory, path) = file("# mine\n[limits]\nmesage_bytes = 1\n");
    let path = path.to_str().unwrap();
    assert_refused(
        &run(&["config", "check", "--config", path]),
        &[
            path,
            "line 3",
            "limits.mesage_bytes",
            "did you mean limits.message_bytes?",
        ],
    );
    assert_refused(
        &run(&["config", "check", "--set", "rooms.chat.solw=skip"]),
        &["--set rooms.chat.solw", "did you mean rooms.chat.slow?"],
    );
}

#[test]
fn an_unknown_variable_is_a_warning_and_does_not_stop_the_server() {
    let check = output(slabcast(&["config", "check"]).env("SLABCAST_LISTN", "127.0.0.1:0"));
    assert_eq!(check.status.code(), Some(0));
    assert_eq!(check.stdout, b"configuration is valid\n");
    let said = String::from_utf8(check.stderr).unwrap();
    assert_eq!(
        said,
        "slabcast: warning: the environment variable SLABCAST_LISTN is unknown and ignored (did you \
         mean SLABCAST_LISTEN?)\n"
    );
}

#[test]
fn variables_that_kubernetes_injects_do_not_stop_the_server_and_are_logged() {
    let mut command = slabcast(&["exec", "--room=r", "--exit-with-command"]);
    command.args(["--listen=127.0.0.1:0", "--", "true"]);
    for (name, value) in [
        ("SLABCAST_PORT", "tcp://10.0.0.1:8080"),
        ("SLABCAST_SERVICE_HOST", "10.0.0.1"),
        ("SLABCAST_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("SLABCAST_LIMITS_SERVICE_PORT_HTTP", "8080"),
    ] {
        command.env(name, value);
    }
    let served = output(command.env("PATH", "/usr/bin:/bin"));
    let log = String::from_utf8(served.stderr).unwrap();
    assert_eq!(served.status.code(), Some(0), "{log}");
    for name in ["SLABCAST_PORT is", "SLABCAST_LIMITS_SERVICE_PORT_HTTP is"] {
        let is_logged = |line: &str| line.contains("WARN") && line.contains(name);
        assert!(log.lines().any(is_logged), "{name} is missing in {log}");
    }
}

#[test]
fn bad_value_is_refused_with_its_source_and_what_would_be_right() {
    let (_directory, path) = file("timeouts.ping = \"25\"\n");
    let path = path.to_str().unwrap();
    assert_refused(
        &run(&["config", "check", "--config", path]),
        &[path, "line 1", "timeouts.ping", "\"25\"", "30s"],
    );
    assert_refused(
        &output(slabcast(&["config", "check"]).env("SLABCAST_LIMITS_MESSAGE_BYTES", "64k")),
        &[
            "environment variable SLABCAST_LIMITS_MESSAGE_BYTES",
            "\"64k\"",
            "64KiB",
        ],
    );
    assert_refused(
        &run(&["config", "check", "--set", "limits.head_bytes=4096"]),
        &["--set limits.head_bytes: limits.head_bytes of 4096 is below 8192 (set 8KiB or more)"],
    );
    assert_refused(
        &run(&["config", "check", "--log", "a=b=c"]),
        &["--log", "a=b=c", "info"],
    );
    assert_refused(
        &run(&["config", "check", "--set", "limits.rooms"]),
        &["KEY=VALUE"],
    );
}

#[test]
fn command_line_wins_over_environment_and_that_over_the_file() {
    let (_directory, path) = file("[limits]\nhead_bytes = \"1KiB\"\n");
    let check = |set: &[&str], variable: Option<&str>| {
        let args = [
            &["config", "check", "--config", path.to_str().unwrap()],
            set,
        ]
        .concat();
        let mut command = slabcast(&args);
        if let Some(text) = variable {
            command.env("SLABCAST_LIMITS_HEAD_BYTES", text);
        }
        output(&mut command)
    };
    assert_refused(&check(&[], None), &["of 1024 is below"]);
    assert_refused(&check(&[], Some("2KiB")), &["of 2048 is below"]);
    assert_valid(&check(&[], Some("8KiB")));
    assert_refused(
        &check(&["--set", "limits.head_bytes=3KiB"], Some("8KiB")),
        &["of 3072 is below"],
    );
    assert_valid(&check(&["--set", "limits.head_bytes=8KiB"], Some("2KiB")));
}

#[test]
fn the_file_is_found_through_its_variable() {
    let (_directory, path) = file("lisen = 1\n");
    assert_refused(
        &output(slabcast(&["config", "check"]).env("SLABCAST_CONFIG", &path)),
        &[path.to_str().unwrap(), "did you mean listen?"],
    );
}

#[test]
fn listening_beyond_loopback_without_anonymous_is_refused() {
    for args in [
        &["--listen", "0.0.0.0:0"] as &[_],
        &["serve", "--listen", "0.0.0.0:0"],
        &["config", "check", "--listen", "0.0.0.0:0"],
        &["config", "check", "--set", "listen=[::]:0"],
    ] {
        assert_refused(&run(args), &["--anonymous", "listen on 127.0.0.1"]);
    }
    assert_valid(&run(&[
        "config",
        "check",
        "--listen",
        "0.0.0.0:0",
        "--anonymous",
    ]));
}

#[test]
fn a_variable_that_is_not_unicode_does_no_harm() {
    use std::os::unix::ffi::OsStrExt as _;

    let garbage = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    assert_valid(&output(
        slabcast(&["config", "check"]).env("UNRELATED", garbage),
    ));
    assert_refused(
        &output(slabcast(&["config", "check"]).env("SLABCAST_LISTEN", garbage)),
        &["environment variable SLABCAST_LISTEN", "127.0.0.1:8080"],
    );
}
