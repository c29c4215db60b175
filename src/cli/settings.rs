//! The flags that configure the server, and the configuration that they, the environment and the
//! file make.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use slabcast::{
    config::{ConfigError, Layers, Loaded},
    node::Access,
};
use tracing_subscriber::EnvFilter;

/// Where any configuration comes from. Flags are text here: the configuration reads them, as it reads
/// environment and file.
#[derive(Debug, Args)]
pub(super) struct Sources {
    /// Read the configuration from FILE (TOML) [env: SLABCAST_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Set any key of the configuration file, such as room_defaults.history_size=500 (repeat; flags
    /// of their own win over it)
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

impl Sources {
    /// Reads flags, environment and file.
    pub(super) fn load(self) -> Result<Loaded, ConfigError> {
        self.layers().environment(environment()).load()
    }

    fn layers(self) -> Layers {
        let mut layers = Layers::new();
        if let Some(path) = self.config {
            layers = layers.file(path);
        }
        for (key, text) in self.set {
            let flag = format!("--set {key}");
            layers = layers.set(key, text, flag);
        }
        layers
    }
}

/// What the server is configured by.
#[derive(Debug, Args)]
pub(super) struct Settings {
    #[command(flatten)]
    sources: Sources,

    /// Listen on ADDR, an IP address and a port; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,

    /// Coordinate each room with a lock, or with a task that takes commands [default: lock]
    #[arg(long, value_name = "ENGINE", value_parser = ["lock", "hub"])]
    engine: Option<String>,

    /// Let anybody connect without a token, also from other machines
    #[arg(long)]
    anonymous: bool,

    /// Accept requests for the name HOST, besides IP addresses and localhost (repeat, or separate
    /// by commas)
    #[arg(long, value_name = "HOST")]
    allowed_host: Vec<String>,

    /// Let web pages from ORIGIN connect, such as https://example.org; * for all (repeat, or
    /// separate by commas)
    #[arg(long, value_name = "ORIGIN")]
    allowed_origin: Vec<String>,

    /// Log what FILTER admits, such as debug or info,slabcast=trace [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,

    /// Write log lines for people or for collectors [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
    log_format: Option<String>,
}

/// A configuration to run with, and what of it only the program knows how to read.
pub(super) struct Ready {
    pub(super) loaded: Loaded,
    pub(super) log_filter: EnvFilter,
}

impl Settings {
    /// A socket that listens at `address` is there already, so nothing else that is configured counts.
    pub(super) fn listening_at(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address.to_string());
        self
    }

    /// Reads flags, environment and file, and the file with the key that tokens are checked by.
    pub(super) fn load(self) -> Result<Ready, ConfigError> {
        let loaded = self.layers().environment(environment()).load()?;
        let log_filter = log_filter(&loaded)?;
        Access::new(&loaded.config).map_err(|error| loaded.with_origin(error))?;
        Ok(Ready { loaded, log_filter })
    }

    fn layers(self) -> Layers {
        let mut layers = self.sources.layers();
        let joined = |list: Vec<String>| (!list.is_empty()).then(|| list.join(","));
        let flags = [
            ("listen", "--listen", self.listen),
            ("engine", "--engine", self.engine),
            (
                "anonymous",
                "--anonymous",
                self.anonymous.then(|| "true".to_owned()),
            ),
            ("allowed_hosts", "--allowed-host", joined(self.allowed_host)),
            (
                "allowed_origins",
                "--allowed-origin",
                joined(self.allowed_origin),
            ),
            ("log.filter", "--log", self.log),
            ("log.format", "--log-format", self.log_format),
        ];
        for (key, flag, text) in flags {
            if let Some(text) = text {
                layers = layers.set(key, text, flag);
            }
        }
        layers
    }
}

/// The process's environment. What is not UTF-8 is read as well as it can be, so that an error can
/// name it; `std::env::vars` would panic, even for variables that have nothing to do with us.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| {
        (
            name.to_string_lossy().into_owned(),
            value.to_string_lossy().into_owned(),
        )
    })
}

/// The library does not know how filters are read, so they are checked here.
fn log_filter(loaded: &Loaded) -> Result<EnvFilter, ConfigError> {
    let filter = &loaded.config.log.filter;
    EnvFilter::try_new(filter).map_err(|error| ConfigError::Value {
        key: "log.filter".to_owned(),
        origin: loaded.origin("log.filter").cloned(),
        problem: format!(
            "\"{filter}\" is not a filter: {error} (write a level, such as info, or levels by \
             module, such as info,slabcast=debug)"
        ),
    })
}

fn key_and_value(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text
        .split_once('=')
        .ok_or("write KEY=VALUE, such as limits.message_bytes=1MiB")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};
    use slabcast::config::Config;

    use super::*;
    use crate::cli::Cli;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        settings: Settings,
    }

    fn configured(flags: &[&str]) -> Config {
        let flags = Flags::try_parse_from([&["slabcast"], flags].concat()).unwrap();
        flags.settings.layers().load().unwrap().config
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_sets_its_key() {
        let config = configured(&[
            "--listen=0.0.0.0:1",
            "--engine=hub",
            "--anonymous",
            "--allowed-host=a.example",
            "--allowed-origin=https://a.example",
            "--log=warn",
            "--log-format=json",
            "--set=limits.rooms=5",
        ]);
        assert_eq!(config.listen.to_string(), "0.0.0.0:1");
        assert_eq!(config.engine, slabcast::config::Engine::Hub);
        assert_eq!(config.anonymous, Some(true));
        assert_eq!(config.allowed_hosts, ["a.example"]);
        assert_eq!(config.allowed_origins, ["https://a.example"]);
        assert_eq!(config.log.filter, "warn");
        assert_eq!(config.log.format, slabcast::config::LogFormat::Json);
        assert_eq!(config.limits.rooms, 5);
    }

    #[test]
    fn a_repeated_list_is_taken_together() {
        let config = configured(&[
            "--allowed-host=a.example,b.example",
            "--allowed-host=c.example",
        ]);
        assert_eq!(
            config.allowed_hosts,
            ["a.example", "b.example", "c.example"]
        );
    }

    #[test]
    fn a_flag_of_its_own_wins_over_set() {
        let config = configured(&["--log=debug", "--set=log.filter=warn"]);
        assert_eq!(config.log.filter, "debug");
    }

    #[test]
    fn a_value_may_contain_an_equals_sign() {
        let config = configured(&["--set", "log.filter=slabcast=debug"]);
        assert_eq!(config.log.filter, "slabcast=debug");
    }
}
