//! `slabcast token`, and what the program does with a token as a client: against a server that is the
//! program too.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

mod support;

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use support::{Peer, Program, soon};
use tokio::process::Command;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const SECRET_VARIABLE: &str = "SLABCAST_TOKENS_HMAC_SECRET";
const SETTING: &str = "tokens.hmac_secret=0123456789abcdef0123456789abcdef";

/// What a program that ran to its end left behind.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the program with these variables and no others, and with no input.
async fn run(args: &[&str], variables: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slabcast"));
    command.args(args).env_clear().kill_on_drop(true);
    command.envs(variables.iter().copied()).stdin(Stdio::null());
    let output = soon("its end", command.output()).await.unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The token that `slabcast token` prints, and nothing else.
async fn token(args: &[&str]) -> String {
    let ran = run(&[&["token"], args].concat(), &[(SECRET_VARIABLE, SECRET)]).await;
    assert_eq!((ran.code, &*ran.stderr), (Some(0), ""), "{ran:?}");
    let token = ran.stdout.strip_suffix('\n').expect("one line");
    assert_eq!(token.split('.').count(), 3, "{token}");
    assert!(!token.contains(char::is_whitespace), "{token}");
    token.to_owned()
}

/// The reply to a `connect` with that token.
async fn connected(program: &Program, token: &str) -> (Peer, Value) {
    let mut peer = Peer::connect(program.addr, "/connection/websocket").await;
    let reply = peer
        .ask(json!({"id": 1, "connect": {"token": token}}))
        .await;
    (peer, reply)
}

/// A file in the folder of the tests' keys.
fn key(name: &str) -> String {
    format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn what_it_prints_opens_a_connection_of_that_user() {
    let program = Program::start(&[SETTING]).await;
    let token = token(&[
        "--user",
        "ada",
        "--info",
        "{\"name\": \"Ada\"}",
        "--join=news",
        "--join=chat:b",
    ])
    .await;
    let (mut ada, reply) = connected(&program, &token).await;
    let result = &reply["connect"];
    assert_eq!(result["expires"], true, "{reply}");
    let ttl = result["ttl"].as_u64().unwrap();
    assert!((3590..=3600).contains(&ttl), "an hour: {ttl}");
    let subs: Vec<_> = result["subs"].as_object().unwrap().keys().collect();
    assert_eq!(subs, ["#ada", "chat:b", "news"]);
    ada.ask(json!({"id": 2, "publish": {"channel": "news", "data": 1}}))
        .await;
    let heard = ada.next_json().await;
    let info = &heard["push"]["pub"]["info"];
    assert_eq!(info["user"], "ada", "{heard}");
    assert_eq!(info["conn_info"], json!({"name": "Ada"}), "{heard}");
    Peer::connect(program.addr, &format!("/ws/lobby?token={token}")).await;
}

#[tokio::test]
async fn a_subscription_token_opens_its_room() {
    let program = Program::start(&[SETTING, "room_defaults.subscribe=token"]).await;
    let (mut ada, _) = connected(&program, &token(&["--user", "ada"]).await).await;
    let for_vip = token(&["--user=ada", "--room=vip", "--expires=never"]).await;
    let refused = ada
        .ask(json!({"id": 2, "subscribe": {"channel": "vip"}}))
        .await;
    assert_eq!(refused["error"]["code"], 103, "{refused}");
    let subscribed = ada
        .ask(json!({"id": 3, "subscribe": {"channel": "vip", "token": for_vip}}))
        .await;
    assert!(subscribed["subscribe"].is_object(), "{subscribed}");
    assert!(
        subscribed["subscribe"]["expires"].is_null(),
        "never: {subscribed}"
    );
}

#[tokio::test]
async fn each_kind_of_private_key_signs_what_its_public_half_checks() {
    for kind in ["rsa", "ec", "ec384", "ed"] {
        let file = format!(
            "tokens.public_key_file={}",
            key(&format!("{kind}.public.pem"))
        );
        let program = Program::start(&[&file]).await;
        let private = key(&format!("{kind}.private.pem"));
        let token = token(&["--user", "ada", "--private-key", &private]).await;
        let (_, reply) = connected(&program, &token).await;
        assert!(reply["connect"].is_object(), "{kind}: {reply}");
    }
}

#[tokio::test]
async fn an_expired_one_opens_nothing_and_the_client_says_so() {
    let program = Program::start(&[SETTING, "timeouts.refresh=200ms"]).await;
    let url = format!("ws://{}", program.addr);
    let token = token(&["--user", "ada", "--expires", "2s"]).await;
    let variables = [("SLABCAST_TOKEN", &*token)];

    // Good until then, and in the middle of it not any more.
    let ran = run(&["connect", &url, "--follow"], &variables).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("you are in"), "{ran:?}");
    let said = "the token has expired (3005): get a new one";
    assert!(ran.stderr.contains(said), "{ran:?}");
    assert!(!ran.stderr.contains("trying again"), "{ran:?}");

    let (_, reply) = connected(&program, &token).await;
    assert_eq!(reply["error"]["code"], 109, "{reply}");
    for command in [
        &["connect", &*url][..],
        &["publish", "lobby", "x", "--url", &url],
    ] {
        let ran = run(command, &variables).await;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let said = "the token has expired (109): get a new one";
        assert!(ran.stderr.contains(said), "{ran:?}");
    }
}

#[tokio::test]
async fn a_client_takes_its_token_from_the_environment_and_the_flag_wins() {
    let program = Program::start(&[SETTING]).await;
    let url = format!("ws://{}", program.addr);
    let token = token(&["--user", "ada"]).await;
    let publish = ["publish", "lobby", "x", "--url", &url];
    let ran = run(&publish, &[("SLABCAST_TOKEN", &token)]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let flag = [&publish[..], &["--token", &token]].concat();
    let ran = run(&flag, &[("SLABCAST_TOKEN", "not.a.token")]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = run(&publish, &[("SLABCAST_TOKEN", "")]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("without a token"), "{ran:?}");
    // The help shows where it comes from, and not what it is.
    let ran = run(&["publish", "--help"], &[("SLABCAST_TOKEN", &token)]).await;
    assert!(ran.stdout.contains("SLABCAST_TOKEN"), "{ran:?}");
    assert!(!ran.stdout.contains(&token), "{ran:?}");
}

#[tokio::test]
async fn the_secret_is_the_one_that_a_server_would_start_with() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("slabcast.toml");
    std::fs::write(&path, format!("tokens.hmac_secret = '{SECRET}'")).unwrap();
    let path = path.to_str().unwrap();
    let program = Program::start(&[SETTING]).await;
    let other = "another secret, as long as it has to be";
    for (args, variables) in [
        (&["--config", path][..], &[][..]),
        (&[], &[("SLABCAST_CONFIG", path)]),
        (&["--set", SETTING], &[(SECRET_VARIABLE, other)]),
    ] {
        let args = [&["token", "--user", "ada"], args].concat();
        let ran = run(&args, variables).await;
        let (_, reply) = connected(&program, ran.stdout.trim_end()).await;
        assert!(reply["connect"].is_object(), "{args:?}: {reply}");
    }
}

#[tokio::test]
async fn what_can_not_be_a_token_is_refused_with_what_would_be_right() {
    let public = key("ed.public.pem");
    let public_file = format!("tokens.public_key_file={public}");
    let long = format!("\"{}\"", "x".repeat(8192));
    for (args, said) in [
        (&["--user", "a#b"][..], &["a#b", "'#'", "without it"][..]),
        (
            &["--user", "ada", "--info", "{name: 1}"],
            &["is not JSON", "'{\"name\":\"Ada\"}'"],
        ),
        (
            &["--user", "ada", "--info", &long, "--set", SETTING],
            &["exceeds 8192", "say less"],
        ),
        (
            &["--user", "ada", "--expires", "1"],
            &["\"1\" is not a duration", "1h", "never"],
        ),
        (
            &["--user", "ada", "--expires", "0s"],
            &["0s", "over at once", "never"],
        ),
        (
            &["--user", "ada", "--expires", "999999h"],
            &["exceeds 876000h", "never"],
        ),
        (
            &["--user", "ada", "--room", ""],
            &["room name is empty", "1 to 255"],
        ),
        (
            &["--user", "ada", "--room", "dialog#bob"],
            &["dialog#bob", "belongs to", "another --user"],
        ),
        (
            &["--user", "ada", "--join", "#bob"],
            &["#bob", "belongs to"],
        ),
        (
            &["--user", "ada", "--room", "a", "--join", "b"],
            &["cannot be used with"],
        ),
        (
            &["--user", "ada", "--private-key", "/nowhere"],
            &["--private-key /nowhere", "can't be read"],
        ),
        (
            &["--user", "ada", "--private-key", &public],
            &["no private key", "openssl pkcs8"],
        ),
        (
            &["--user", "ada", "--set", &public_file],
            &["tokens.hmac_secret is not set", "--private-key FILE"],
        ),
        (
            &["--user", "ada"],
            &["tokens.hmac_secret is not set", "openssl rand -hex 32"],
        ),
        (
            &["--user", "ada", "--set", "tokens.hmac_secret=hunter2"],
            &["7 bytes", "below 32"],
        ),
        (&[], &["--user"]),
    ] {
        let ran = run(&[&["token"], args].concat(), &[]).await;
        assert_eq!((ran.code, &*ran.stdout), (Some(2), ""), "{args:?}: {ran:?}");
        for part in said {
            assert!(
                ran.stderr.contains(part),
                "{part:?} is missing in {}",
                ran.stderr
            );
        }
        assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
    }
}

#[tokio::test]
async fn config_check_reads_the_key_that_a_start_would_read() {
    let check = async |path: &str| {
        let setting = format!("tokens.public_key_file={path}");
        let args = ["config", "check", "--set", &setting];
        let checked = run(&args, &[]).await;
        let args = ["serve", "--listen=127.0.0.1:0", "--set", &setting];
        (
            checked,
            tokio::time::timeout(Duration::from_secs(5), run(&args, &[])).await,
        )
    };
    let (checked, started) = check(&key("ed.public.pem")).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(started.is_err(), "it serves: {started:?}");
    for (path, said) in [
        ("/nowhere", "can't be read"),
        (&*key("ed.private.pem"), "no public key"),
    ] {
        let (checked, started) = check(path).await;
        assert_eq!(checked.code, Some(2), "{checked:?}");
        let blamed = "--set tokens.public_key_file: tokens.public_key_file";
        assert!(checked.stderr.contains(blamed), "{checked:?}");
        assert!(checked.stderr.contains(said), "{checked:?}");
        assert_eq!(started.unwrap().stderr, checked.stderr, "as a start");
    }
}
