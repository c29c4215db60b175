//! What may know what: every path in the sources runs downwards, and each foreign crate is named
//! where its adapter is and nowhere else.

#![allow(
    clippy::unwrap_used,
    reason = "a test that fails may say so by panicking"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The modules of one floor, and what they may know of their own floor.
const BASICS: [(&str, &[&str]); 5] = [
    ("config", &[]),
    ("id", &[]),
    ("close", &[]),
    ("metrics", &["close", "sync"]),
    ("sync", &[]),
];

const ROOM_MEMORY: [(&str, &[&str]); 6] = [
    ("frame", &[]),
    ("publication", &[]),
    ("feed", &[]),
    ("notifier", &[]),
    ("outbox", &["feed", "notifier"]),
    ("history", &["publication"]),
];

const ROOMS: [(&str, &[&str]); 2] = [("fanout", &[]), ("protocol", &[])];

const FLOORS: [&[(&str, &[&str])]; 8] = [
    &BASICS,
    &ROOM_MEMORY,
    &ROOMS,
    &[("room", &[])],
    &[("node", &[])],
    &[("session", &[])],
    &[("http", &[])],
    &[("server", &[])],
];

/// The files that are no module of the library's.
const PROGRAM: [&str; 6] = ["main", "cli", "client", "exec", "load", "study"];

/// What each module may import: everything on lower floors, and what its own floor's table says.
fn allowed() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut allowed = BTreeMap::new();
    let mut below = BTreeSet::new();
    for floor in FLOORS {
        for (module, beside) in floor {
            let known = below.iter().chain(*beside).chain([module]).copied();
            allowed.insert(*module, known.collect());
        }
        below.extend(floor.iter().map(|(module, _)| *module));
    }
    allowed
}

/// One source file: where it is, which module it is, and every path that it names.
struct Source {
    file: PathBuf,
    module: Vec<String>,
    paths: Vec<Vec<String>>,
}

impl Source {
    /// Everything under src, without the tests.
    fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut sources = Vec::new();
        let mut directories = vec![root.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let file = path.strip_prefix(&root).unwrap().to_owned();
                    let text = fs::read_to_string(&path).unwrap();
                    sources.push(Self::new(file, &text));
                }
            }
        }
        assert!(sources.len() > 30, "the sources were found");
        sources
    }

    fn new(file: PathBuf, text: &str) -> Self {
        let module = module_of(&file);
        let paths = paths(&without_tests(tokens(text)));
        Self {
            file,
            module,
            paths,
        }
    }

    /// The module right below the crate's root that this file is a part of.
    fn top(&self) -> &str {
        self.module.first().map_or("lib", |name| name)
    }

    /// The top modules of its own crate that it names.
    fn imports(&self) -> BTreeSet<&str> {
        let resolve = |path| resolved(&self.module, path);
        self.paths.iter().filter_map(|path| resolve(path)).collect()
    }

    /// Whether it names something that begins like that, such as `std::net`.
    fn names(&self, wanted: &str) -> bool {
        let wanted: Vec<_> = wanted.split("::").collect();
        self.paths.iter().any(|path| starts_with(path, &wanted))
    }
}

fn starts_with(names: &[String], wanted: &[&str]) -> bool {
    names.len() >= wanted.len()
        && names
            .iter()
            .zip(wanted)
            .all(|(name, wanted)| name == wanted)
}

fn module_of(file: &Path) -> Vec<String> {
    let mut module: Vec<_> = file
        .with_extension("")
        .iter()
        .map(|name| name.to_str().unwrap().to_owned())
        .collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

/// The top module that `path` leads to, if it stays in the crate.
fn resolved<'a>(module: &'a [String], path: &'a [String]) -> Option<&'a str> {
    let supers = path.iter().take_while(|name| *name == "super").count();
    let (base, rest): (&[String], _) = match path.first().map(String::as_str)? {
        "crate" => (&[], &path[1..]),
        "self" => (module, &path[1..]),
        "super" => (&module[..module.len() - supers], &path[supers..]),
        _ => return None,
    };
    base.first().or(rest.first()).map(String::as_str)
}

/// Names, `::`, and single characters of everything else; no comments, no literals.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, rest)| rest);
        } else if let Some(behind) = behind_literal(rest) {
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix("::") {
            tokens.push("::".to_owned());
            rest = behind;
        } else if is_word(next) {
            let (word, behind) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
            tokens.push(word.to_owned());
            rest = behind;
        } else {
            if !next.is_whitespace() {
                tokens.push(next.to_string());
            }
            rest = &rest[next.len_utf8()..];
        }
    }
    tokens
}

/// What stands behind the text or character literal that `text` begins with, if it does.
fn behind_literal(text: &str) -> Option<&str> {
    let unprefixed = text.strip_prefix('b').unwrap_or(text);
    if let Some(raw) = unprefixed.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let inner = raw[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        return inner.split_once(&end).map(|(_, behind)| behind);
    }
    let quote = unprefixed.chars().next()?;
    let mut inner = unprefixed[1..].char_indices();
    match quote {
        '"' => {}
        // A character and not a lifetime: closed behind one character, or an escape.
        '\'' if unprefixed[1..].starts_with('\\') => {}
        '\'' => {
            let (_, _) = inner.next()?;
            let (at, _) = inner.next().filter(|(_, c)| *c == '\'')?;
            return Some(&unprefixed[at + 2..]);
        }
        _ => return None,
    }
    while let Some((at, c)) = inner.next() {
        if c == '\\' {
            inner.next();
        } else if c == quote {
            return Some(&unprefixed[at + 2..]);
        }
    }
    None
}

/// Without `#[cfg(test)] mod … { … }`.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    const MARK: [&str; 8] = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let mut kept = Vec::new();
    let mut rest = &tokens[..];
    while let Some((first, behind)) = rest.split_first() {
        if starts_with(rest, &MARK) {
            let mut depth = 0;
            let mut end = MARK.len() + 1;
            loop {
                match rest[end].as_str() {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    _ => {}
                }
                end += 1;
                if depth == 0 {
                    break;
                }
            }
            rest = &rest[end..];
        } else {
            kept.push(first.clone());
            rest = behind;
        }
    }
    kept
}

/// Every path that is named, in a `use` or anywhere, with groups taken apart.
fn paths(tokens: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let follows_path = at > 0 && tokens[at - 1] == "::";
        let is_used = at > 0 && tokens[at - 1] == "use";
        let leads_on = tokens.get(at + 1).is_some_and(|next| next == "::");
        if is_name(&tokens[at]) && !follows_path && (leads_on || is_used) {
            at = tree(tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads one use tree from `at` on, which stands behind `prefix`, and returns where it ends.
fn tree(tokens: &[String], at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    let mut at = at;
    while let Some(token) = tokens.get(at) {
        if token == "{" {
            at += 1;
            while tokens[at] != "}" {
                at = tree(tokens, at, &path, found);
                if tokens[at] == "as" {
                    at += 2;
                }
                if tokens[at] == "," {
                    at += 1;
                }
            }
            return at + 1;
        }
        if is_name(token) {
            // `self` in a group is what stands before the group.
            if token != "self" || path.is_empty() {
                path.push(token.clone());
            }
            at += 1;
        } else if token == "*" {
            at += 1;
        }
        match tokens.get(at) {
            Some(next) if next == "::" && tokens.get(at + 1).is_some_and(|t| t != "<") => at += 1,
            _ => break,
        }
    }
    found.push(path);
    at
}

#[test]
fn imports_run_downwards_only() {
    let allowed = allowed();
    let mut edges = BTreeSet::new();
    for source in Source::all() {
        let top = source.top();
        if PROGRAM.contains(&top) || top == "lib" {
            continue;
        }
        let known = allowed
            .get(top)
            .unwrap_or_else(|| panic!("{top} stands on no floor"));
        for import in source.imports() {
            let file = source.file.display();
            assert!(known.contains(import), "src/{file} imports {import}");
            if import != top {
                edges.insert(format!("{top} → {import}"));
            }
        }
    }
    // Had the reading gone wrong, there would be none to complain about.
    for edge in [
        "metrics → close",
        "outbox → feed",
        "history → publication",
        "node → fanout",
        "node → protocol",
        "session → node",
        "http → session",
        "server → http",
    ] {
        assert!(edges.contains(edge), "{edge} is missing: {edges:?}");
    }
}

#[test]
fn every_module_stands_on_one_floor() {
    let mut all: Vec<_> = FLOORS.iter().copied().flatten().map(|(m, _)| *m).collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    let found: BTreeSet<_> = Source::all()
        .iter()
        .map(|source| source.top().to_owned())
        .filter(|top| top != "lib" && !PROGRAM.contains(&top.as_str()))
        .collect();
    assert_eq!(Vec::from_iter(found), all);
}

#[test]
fn the_program_knows_the_library_by_its_public_name_only() {
    for source in Source::all() {
        let file = source.file.display();
        if PROGRAM.contains(&source.top()) {
            for import in source.imports() {
                assert!(PROGRAM.contains(&import), "src/{file} imports {import}");
            }
        } else {
            for foreign in ["slabcast", "clap", "tracing_subscriber"] {
                assert!(!source.names(foreign), "src/{file} names {foreign}");
            }
        }
    }
}

/// Only sources for which `may` says so name something that begins with `foreign`, and some do.
#[track_caller]
fn is_named_only_where(foreign: &str, may: impl Fn(&Path) -> bool) {
    let mut is_named = false;
    for source in Source::all() {
        if source.names(foreign) {
            is_named = true;
            let file = &source.file;
            assert!(may(file), "src/{} names {foreign}", file.display());
        }
    }
    assert!(is_named, "{foreign} is named nowhere");
}

#[test]
fn tungstenite_is_named_by_its_adapters_only() {
    const ADAPTERS: [&str; 3] = ["session/socket.rs", "http/upgrade.rs", "load/handshake.rs"];
    is_named_only_where("tungstenite", |file| {
        ADAPTERS.iter().any(|adapter| file == Path::new(adapter))
    });
}

#[test]
fn hyper_is_named_by_http_and_server_only() {
    let may = |file: &Path| file.starts_with("http") || file.starts_with("server");
    is_named_only_where("hyper", may);
    is_named_only_where("hyper_util", may);
    is_named_only_where("http_body_util", may);
}

#[test]
fn prometheus_is_named_in_one_file_only() {
    is_named_only_where("prometheus_client", |file| {
        file == Path::new("http/metrics.rs")
    });
}

#[test]
fn the_service_manager_is_named_in_one_file_only() {
    for foreign in ["sd_notify", "listenfd"] {
        is_named_only_where(foreign, |file| file == Path::new("cli/service.rs"));
    }
}

#[test]
fn the_lock_implementation_is_named_in_one_file_only() {
    is_named_only_where("parking_lot", |file| file == Path::new("sync.rs"));
    let blocking = [
        "std::sync::Mutex",
        "std::sync::RwLock",
        "tokio::sync::Mutex",
    ];
    for source in Source::all() {
        for lock in blocking {
            assert!(!source.names(lock), "src/{}: {lock}", source.file.display());
        }
    }
}

#[test]
fn what_is_modelled_has_its_locks_and_atomics_from_one_file() {
    let modelled = ["metrics", "feed", "notifier", "outbox", "fanout"];
    let of_the_node = ["node/entry.rs", "node/room.rs", "node/rooms.rs"];
    let mut count = 0;
    for source in Source::all() {
        let is_of_the_node = of_the_node
            .iter()
            .any(|file| source.file == Path::new(file));
        if modelled.contains(&source.top()) || is_of_the_node {
            let file = source.file.display();
            assert!(!source.names("std::sync::atomic"), "src/{file} names it");
            count += usize::from(source.imports().contains("sync"));
        }
    }
    assert!(
        count >= 5,
        "feed, notifier, metrics, the lock engine and the rooms: {count}"
    );
}

#[test]
fn the_fan_out_knows_no_runtime_no_protocol_and_no_network() {
    let mut count = 0;
    for source in Source::all() {
        if !["feed", "outbox", "fanout"].contains(&source.top()) {
            continue;
        }
        count += 1;
        for foreign in [
            "tokio",
            "tokio_util",
            "hyper",
            "serde_json",
            "tungstenite",
            "std::net",
        ] {
            // An actor is a task with a channel, and a wake queue is served by a task; a lock needs
            // neither.
            let tasks = ["fanout/hub.rs", "fanout/wake_queue.rs"];
            let is_task = tasks.iter().any(|file| source.file.ends_with(file));
            let file = source.file.display();
            assert!(
                !source.names(foreign) || (is_task && foreign == "tokio"),
                "src/{file} names {foreign}"
            );
        }
    }
    assert!(count >= 4, "feed, outbox and the fan-out's files: {count}");
}

#[test]
fn the_reading_of_paths_sees_every_form_of_them() {
    let text = r##"
        //! Not `crate::comment::A`.
        use crate::{close::{self, Close}, node::Node as Renamed, sync::*};
        use super::super::feed::Feed;
        pub(crate) use crate::history;
        use tungstenite;
        use std::{fmt, net::SocketAddr};
        /* crate::block */
        fn f<'a>(x: &'a str) -> crate::id::RoomName {
            let c = ('"', '\'', b'"', "crate::text \" ", r#"crate::raw " "#);
            tokio::spawn(super::beside(self::here::<crate::generic::T>()))
        }
        #[cfg(test)]
        mod tests { use crate::tested; fn g() { if x { crate::deep::Y } } }
        fn behind() { crate::server::run() }
    "##;
    let source = Source::new("fanout/registry/walk.rs".into(), text);
    let imports = Vec::from_iter(source.imports());
    let wanted = [
        "close", "fanout", "generic", "history", "id", "node", "server", "sync",
    ];
    assert_eq!(imports, wanted);
    for named in ["tungstenite", "std::net", "std::net::SocketAddr", "tokio"] {
        assert!(source.names(named), "{named}: {:?}", source.paths);
    }
    for unnamed in ["hyper", "std::io", "net"] {
        assert!(!source.names(unnamed), "{unnamed}: {:?}", source.paths);
    }
    let at_top = Source::new("feed.rs".into(), "use super::outbox::Outbox;");
    assert_eq!(Vec::from_iter(at_top.imports()), ["outbox"]);
}
