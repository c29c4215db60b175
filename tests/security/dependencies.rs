//! What the dependencies must be at least, and where secrets may be looked at.

use std::{collections::BTreeMap, fs, path::Path};

/// The oldest version of each without a hole that the RustSec database knew of on 2026-08-21, where it
/// concerns a server like this one. `make deny` asks a newer database, where there is one.
const FLOORS: [(&str, [u64; 3]); 9] = [
    // A long head of a handshake could take minutes of CPU time (RUSTSEC-2023-0065).
    ("tungstenite", [0, 20, 1]),
    ("tokio-tungstenite", [0, 20, 1]),
    // RUSTSEC-2023-0078.
    ("tracing", [0, 1, 40]),
    // Escape sequences in a field got into the log as they stood (RUSTSEC-2025-0055).
    ("tracing-subscriber", [0, 3, 20]),
    // Keys beyond the end were taken for slots (RUSTSEC-2025-0047).
    ("slab", [0, 4, 11]),
    // RUSTSEC-2026-0007.
    ("bytes", [1, 11, 1]),
    // A broadcast channel cloned one value on several threads at once (RUSTSEC-2025-0023).
    ("tokio", [1, 44, 2]),
    // RUSTSEC-2020-0070.
    ("lock_api", [0, 4, 2]),
    // Not used. Whoever brings it in reads this.
    ("h2", [0, 4, 16]),
];

/// Folders of what was built or installed.
const NO_SOURCES: [&str; 2] = ["target", "node_modules"];

/// Every version of every crate in a lock file.
fn locked(file: &str) -> BTreeMap<String, Vec<[u64; 3]>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let lock: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
    let mut crates = BTreeMap::<_, Vec<_>>::new();
    for package in lock["package"].as_array().unwrap() {
        let text = |key: &str| package[key].as_str().unwrap().to_owned();
        crates
            .entry(text("name"))
            .or_default()
            .push(numbers(&text("version")));
    }
    crates
}

fn numbers(version: &str) -> [u64; 3] {
    let release = version.split(['-', '+']).next().unwrap();
    let mut numbers = release.split('.').map(|number| number.parse().unwrap());
    std::array::from_fn(|_| numbers.next().unwrap())
}

/// Every lock file of the repository, by its path: where one belongs to a package that git does not
/// ignore, what it locks is built and run by somebody.
fn lock_files() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name == "Cargo.lock" {
                let path = entry.path();
                let path = path.strip_prefix(root).unwrap();
                found.push(path.to_str().unwrap().to_owned());
            } else if entry.file_type().unwrap().is_dir()
                && !name.starts_with(['.', '_'])
                && !NO_SOURCES.contains(&&*name)
            {
                folders.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn no_dependency_is_older_than_its_last_known_hole() {
    let files = lock_files();
    let makefile = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile"));
    let makefile = makefile.unwrap();
    let (_, denied) = makefile.split_once("LOCKED_PACKAGES := ").unwrap();
    let denied = denied.lines().next().unwrap().split(' ');
    let denied = denied.map(|package| match package {
        "." => "Cargo.lock".to_owned(),
        package => format!("{package}/Cargo.lock"),
    });
    assert_eq!(
        files,
        denied.collect::<Vec<_>>(),
        "`make deny` has all of them"
    );
    for file in files {
        let locked = locked(&file);
        assert!(locked.len() > 20 && locked.contains_key("tokio"), "{file}");
        for (name, floor) in FLOORS {
            for version in locked.get(name).into_iter().flatten() {
                assert!(
                    *version >= floor,
                    "{file}: {name} {version:?} is below {floor:?}"
                );
            }
        }
    }
}

#[test]
fn the_floors_are_about_what_is_used() {
    let locked = locked("Cargo.lock");
    for (name, _) in FLOORS {
        assert_eq!(locked.contains_key(name), name != "h2", "{name}");
    }
}

/// Every file of the library, with its text without its tests.
fn library() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                found.push((name, code.to_owned()));
            }
        }
    }
    found
}

#[test]
fn a_key_is_compared_as_a_digest_and_in_constant_time() {
    // Time can't be measured well enough by a test, so this is about how it is done: a secret is looked
    // at in these places only, and none of them compares it.
    let mut looks = BTreeMap::new();
    for (file, code) in library() {
        for line in code.lines().filter(|line| line.contains(".reveal()")) {
            assert!(
                !line.contains("==") && !line.contains("!="),
                "{file}: {line}"
            );
            *looks.entry(file.clone()).or_insert(0) += 1;
        }
    }
    let wanted = [
        ("cli/serve.rs", 1),
        ("cli/token.rs", 1),
        ("config/validate.rs", 3),
        ("http/api/auth.rs", 1),
        ("node/access.rs", 1),
    ];
    let wanted = wanted.map(|(file, count)| (file.to_owned(), count));
    assert_eq!(looks, BTreeMap::from(wanted));
    let files: BTreeMap<_, _> = library().into_iter().collect();
    let auth = &files["http/api/auth.rs"];
    for way in [
        "Sha256::digest(key.reveal())",
        "Sha256::digest(presented)",
        "digest.ct_eq(&self.0)",
    ] {
        assert_eq!(auth.matches(way).count(), 1, "{way}");
    }
    assert!(!auth.contains("self.0 ==") && !auth.contains("== self.0"));
    // Nobody else can reach the digest: it is the key's one field, and private.
    assert!(auth.contains("struct ApiKey([u8; 32]);"));
}
