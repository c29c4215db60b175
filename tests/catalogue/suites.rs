//! What `make test` runs: packages of Rust, and folders of Python and JavaScript. Read from what `make`
//! would do, so that a suite that is taken out of it holds nothing any more.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use super::root;

/// Where tests are that are run.
#[derive(Debug, Default)]
pub(crate) struct Suites {
    pub(crate) crates: Vec<Package>,
    /// Folders in which Python's unittest looks for them, and those in which node's runner does.
    pub(crate) python: Vec<PathBuf>,
    pub(crate) javascript: Vec<PathBuf>,
}

/// One `cargo test`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) manifest: PathBuf,
    /// One test target only.
    pub(crate) target: Option<String>,
    /// One package of a workspace only.
    pub(crate) name: Option<String>,
    /// What `--cfg` adds.
    pub(crate) flags: Vec<String>,
}

/// All suites of `make test`; none where there is no make.
pub(crate) fn all() -> Option<Suites> {
    let mut make = Command::new("make");
    // That of whoever runs this has its own say otherwise.
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
        make.env_remove(name);
    }
    make.current_dir(root());
    make.args(["--dry-run", "CARGO=cargo", "PYTHON=python3", "test"]);
    let commands = output_of(make)?;
    let script = fs::read_to_string(root().join(RUNNER)).unwrap();
    Some(of(&commands, &script))
}

/// What a command prints. It has to be there where CI is set; elsewhere it is said and noted that it
/// is not.
pub(crate) fn output_of(mut command: Command) -> Option<String> {
    let name = command.get_program().display().to_string();
    let output = match command.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            omit(&format!("{name} is not installed"));
            return None;
        }
        output => output.unwrap(),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    Some(String::from_utf8(output.stdout).unwrap())
}

fn omit(why: &str) {
    use io::Write as _;

    assert!(std::env::var_os("CI").is_none(), "{why}");
    let line = format!("SKIPPED: the catalogue of failures: {why}");
    eprintln!("{line}");
    if let Some(skipped) = std::env::var_os("SLABCAST_SKIPPED") {
        let file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(skipped);
        writeln!(file.unwrap(), "{line}").unwrap();
    }
}

/// The script that runs other people's clients, and what stands in a line before its suites' names.
const RUNNER: &str = "tests/clients/run.sh";

/// The suites in commands of make's, where `script` is the text of the runner.
fn of(commands: &str, script: &str) -> Suites {
    let mut suites = Suites::default();
    let commands = commands.replace("\\\n", " ");
    for command in commands.lines() {
        let words: Vec<_> = command
            .split([' ', ';', '\''])
            .filter(|word| !word.is_empty())
            .collect();
        for (at, pair) in words.windows(2).enumerate() {
            match pair {
                ["cargo", "test"] => suites.crates.push(package(&words[..at], &words[at..])),
                [RUNNER, suite] => suites.take_arm(script, suite),
                ["--start-directory", folder] => suites.python.push(root().join(folder)),
                _ => {}
            }
        }
    }
    suites
}

/// What `cargo test` is told, and by its environment.
fn package(environment: &[&str], words: &[&str]) -> Package {
    let behind = |name: &str| {
        let mut pairs = words.windows(2);
        let pair = pairs.find(|pair| pair[0] == name);
        pair.map(|pair| pair[1].to_owned())
    };
    let flags = environment.windows(2);
    let flags = flags.filter(|pair| pair[0].trim_start_matches("RUSTFLAGS=") == "--cfg");
    Package {
        manifest: root().join(behind("--manifest-path").unwrap_or("Cargo.toml".to_owned())),
        target: behind("--test"),
        name: behind("--package"),
        flags: flags.map(|pair| pair[1].to_owned()).collect(),
    }
}

impl Suites {
    /// Takes in what the runner does for a suite: its arm of the script's `case`.
    fn take_arm(&mut self, script: &str, suite: &str) {
        let begin = format!("\n  {suite})\n");
        let (_, arm) = script
            .split_once(&begin)
            .unwrap_or_else(|| panic!("{RUNNER} knows no suite {suite:?}"));
        let (arm, _) = arm.split_once("\n    ;;\n").unwrap();
        let here = root().join(Path::new(RUNNER).parent().unwrap());
        let lines = arm.lines().map(str::trim);
        for line in lines.filter(|line| !line.starts_with('#')) {
            let words: Vec<_> = line.split(' ').collect();
            for pair in words.windows(2) {
                if pair[0] == "--start-directory" {
                    // Without the way up, so that one folder has one name.
                    let folder = here.join(pair[1]).canonicalize().unwrap();
                    self.python.push(folder);
                }
            }
            let globs = words.iter().filter_map(|word| {
                let folder = word.strip_suffix("/*.test.mjs")?;
                Some(here.join(folder))
            });
            if words.contains(&"--test") {
                self.javascript.extend(globs);
            }
        }
    }
}

const COMMANDS: &str = "\
cargo clippy --all-targets
cargo test --locked
RUSTFLAGS='--cfg shuttle' TARGET=x \\
cargo test --locked --manifest-path tests/models/Cargo.toml --test shuttle
for engine in lock hub; do echo \"python on $engine\"; tests/clients/run.sh python; done
tests/clients/run.sh browser
python3 -m unittest discover --start-directory tests/conformance
";

const SCRIPT: &str = "
case $suite in
  python)
    need_venv
    run python -m unittest discover --start-directory python \"$@\"
    ;;
  docs)
    run python -m unittest discover --start-directory ../docs \"$@\"
    ;;
  browser)
    # run node --test node/*.test.mjs
    run node --test \"$@\" browser/*.test.mjs
    ;;
esac
";

#[test]
fn a_suite_is_what_make_would_run_and_nothing_else() {
    let suites = of(COMMANDS, SCRIPT);
    let package = |manifest: &str, target: Option<&str>, flags: &[&str]| Package {
        manifest: root().join(manifest),
        target: target.map(str::to_owned),
        name: None,
        flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
    };
    let models = package("tests/models/Cargo.toml", Some("shuttle"), &["shuttle"]);
    assert_eq!(suites.crates, [package("Cargo.toml", None, &[]), models]);
    let folders = ["tests/clients/python", "tests/conformance"];
    assert_eq!(suites.python, folders.map(|folder| root().join(folder)));
    assert_eq!(suites.javascript, [root().join("tests/clients/browser")]);
}
