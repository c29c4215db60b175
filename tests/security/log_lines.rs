//! What peers say, as it stands in the log: one line for each event, in which nothing is obeyed by
//! whoever reads it.

use std::{io::Read as _, net::SocketAddr, process::Stdio};

use crate::support::{client_frame, read_head, read_to_end, soon, upgrade_request};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

/// What would be seen, if a peer could write a line of its own.
const FORGED: &str = "FORGED";

/// The server as a process with everything in its log, which goes to a file.
struct Logging {
    addr: SocketAddr,
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Logging {
    async fn start(format: &str) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_slabcast"))
            .args(["--listen", "127.0.0.1:0", "--log", "trace"])
            .args(["--log-format", format])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.reopen().unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = soon("the address", lines.next_line())
            .await
            .unwrap()
            .unwrap();
        let addr = line.rsplit_once("http://").unwrap().1.trim_end_matches('/');
        Self {
            addr: addr.parse().unwrap(),
            child,
            log,
        }
    }

    async fn ask(&self, request: &[u8]) {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(request).await.unwrap();
        // Whoever goes before he is answered may be taken for one that broke his request off.
        read_head(&mut stream).await;
        stream.shutdown().await.unwrap();
        read_to_end(&mut stream).await;
    }

    /// Opens a socket and says this over it, and goodbye with that reason.
    async fn say(&self, path: &str, texts: &[&str], reason: &str) {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let request = upgrade_request(path, self.addr);
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{path}: {head}");
        for text in texts {
            stream
                .write_all(&client_frame(0x81, text.as_bytes()))
                .await
                .unwrap();
        }
        let goodbye = [&1000_u16.to_be_bytes()[..], reason.as_bytes()].concat();
        stream
            .write_all(&client_frame(0x88, &goodbye))
            .await
            .unwrap();
        read_to_end(&mut stream).await;
    }

    /// Everything that it has logged, once it has ended.
    async fn read(mut self) -> String {
        let pid = self.child.id().unwrap().to_string();
        let kill = std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status();
        assert!(kill.unwrap().success());
        soon("its end", self.child.wait()).await.unwrap();
        let mut text = String::new();
        self.log
            .reopen()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }
}

/// Line ends of all kinds, escapes that clear a screen, and what turns letters round.
const HOSTILE: [&str; 8] = [
    "\n",
    "\r\n",
    "\r",
    "\x1b[2J\x1b[31m",
    "\u{9b}31m",
    "\u{85}",
    "\u{2028}",
    "\u{202e}",
];

async fn attack(server: &Logging) {
    let host = server.addr;
    for hostile in HOSTILE {
        let line = format!("a{hostile}{FORGED} level=ERROR");
        let encoded: String = form_urlencoded::byte_serialize(line.as_bytes()).collect();
        let escaped = serde_json::to_string(&line).unwrap();
        let opening = |path: &str| upgrade_request(path, host);
        for path in [
            format!("/ws/{encoded}"),
            format!("/ws/lobby?uid={encoded}"),
            format!("/ws/lobby?since={encoded}"),
            format!("/ws/lobby?token={encoded}"),
            format!("/sse/{encoded}"),
            format!("/send?room={encoded}&message={encoded}"),
            format!("/{encoded}"),
        ] {
            server.ask(opening(&path).as_bytes()).await;
        }
        // As bytes, which HTTP lets through where they are no control characters of ASCII.
        let raw = line.replace(['\n', '\r', '\x1b'], "\u{9b}");
        for header in [
            "Host",
            "Origin",
            "User-Agent",
            "Last-Event-ID",
            "Authorization",
            "X-API-Key",
        ] {
            let request =
                opening("/sse/lobby").replacen("\r\n", &format!("\r\n{header}: {raw}\r\n"), 1);
            server.ask(request.as_bytes()).await;
        }
        server
            .ask(format!("GET /{raw} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
            .await;
        server
            .ask(format!("{FORGED}\u{9b} / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
            .await;
        let connect = r#"{"id":1,"connect":{}}"#;
        let centrifugo = "/connection/websocket?uid=ada";
        for command in [
            format!(r#"{{"id":2,{escaped}:{{}}}}"#),
            format!(r#"{{"id":2,"subscribe":{{"channel":{escaped}}}}}"#),
            format!(r#"{{"id":2,"publish":{{"channel":{escaped},"data":{escaped}}}}}"#),
            format!(r#"{{"id":2,"refresh":{{"token":{escaped}}}}}"#),
            format!(r#"{{"id":{escaped}}}"#),
            line.clone(),
        ] {
            server.say(centrifugo, &[connect, &command], &line).await;
        }
        let connect = format!(r#"{{"id":1,"connect":{{"token":{escaped}}}}}"#);
        server.say(centrifugo, &[&connect], &line).await;
        server.say("/ws/lobby", &[&line], &line).await;
    }
}

#[track_caller]
fn is_harmless(line: &str) {
    let obeyed =
        |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}');
    assert!(!line.contains(obeyed), "{line:?}");
}

#[tokio::test]
async fn no_peer_writes_a_line_of_its_own_into_the_log() {
    let server = Logging::start("text").await;
    attack(&server).await;
    let log = server.read().await;
    for line in log.lines() {
        is_harmless(line);
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
        let level = rest.split_ascii_whitespace().next().unwrap();
        assert!(["TRACE", "DEBUG", "INFO"].contains(&level), "{line}");
    }
    // Else nothing of it was there to be seen.
    for seen in ["request refused", "session began", "session ended", FORGED] {
        assert!(log.matches(seen).count() >= HOSTILE.len(), "{seen}: {log}");
    }
}

#[tokio::test]
async fn a_log_for_collectors_is_one_object_a_line_whatever_peers_say() {
    let server = Logging::start("json").await;
    attack(&server).await;
    let log = server.read().await;
    for line in log.lines() {
        is_harmless(line);
        let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}"));
        let level = event["level"].as_str().unwrap();
        assert!(["TRACE", "DEBUG", "INFO"].contains(&level), "{line}");
        // Of a name that is there twice, each collector chooses one.
        assert_eq!(line.matches("\"message\":").count(), 1, "{line}");
        assert!(event["fields"]["message"].is_string(), "{line}");
        // What a collector shows of a field, it shows on a terminal.
        for (name, field) in event["fields"].as_object().unwrap() {
            let text = field.as_str().unwrap_or_default();
            assert!(
                !text.contains(['\n', '\r', '\x1b', '\u{9b}']),
                "{name}: {line}"
            );
        }
    }
    assert!(log.matches(FORGED).count() >= HOSTILE.len(), "{log}");
}
