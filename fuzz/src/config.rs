//! Configuration: what is taken is valid, and written down it is read again as the same; what is not
//! is told why, in words for a terminal.

use std::io::Write as _;

use slabcast::config::{Config, ConfigError, Layers, Loaded};

use super::text::assert_printable;

/// Takes `input` for a file, or for lines of `key=value` in the environment and on the command line.
pub fn run(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    let loaded = match first & 1 {
        0 => from_file(&text),
        _ => from_lines(&text),
    };
    match loaded {
        Ok(loaded) => check(&loaded.config),
        Err(error) => refused(&error, text.len()),
    }
}

fn from_file(text: &str) -> Result<Loaded, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Layers::new().file(file.path()).load()
}

fn from_lines(text: &str) -> Result<Loaded, ConfigError> {
    let mut layers = Layers::new();
    for line in text.lines() {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        if key == "SLABCAST_CONFIG" {
            continue;
        }
        layers = if key.starts_with("SLABCAST_") {
            layers.environment([(key.to_owned(), value.to_owned())])
        } else {
            layers.set(key, value, format!("--set {key}"))
        };
    }
    layers.load()
}

fn check(config: &Config) {
    let valid = config.clone().validate();
    assert_eq!(valid.as_ref().ok(), Some(config), "what is loaded is valid");
    let written = toml::to_string(config).unwrap();
    let again = from_file(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
    assert_eq!(&again.config, config, "{written}");
}

/// It may quote what was written, so it is as long as that, and one line.
fn refused(error: &ConfigError, bytes: usize) {
    let text = error.to_string();
    let bytes_max = 2048 + 16 * bytes;
    assert!(text.len() <= bytes_max, "{} bytes: {text:?}", text.len());
    assert!(!text.is_empty());
    assert_printable(&text);
}
