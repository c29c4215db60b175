//! What the machine is, as far as it can be read. What can't is said to be unknown.

use std::{fs, thread};

use serde::{Deserialize, Serialize};

/// The machine's facts, in the order in which they are shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: String,
    pub(crate) is_virtual: String,
    pub(crate) memory: String,
    pub(crate) kernel: String,
    pub(crate) descriptors: String,
    pub(crate) program: String,
    pub(crate) compiler: String,
    pub(crate) build: String,
    /// Runnable threads before the study began, over a minute: what else the machine had to do.
    pub(crate) load_average: Option<f64>,
}

impl Machine {
    pub(crate) fn read() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")
            .map(|release| format!("Linux {}", release.trim()));
        let cores = thread::available_parallelism().map(|cores| cores.to_string());
        Self {
            processor: field(&cpuinfo, "model name").unwrap_or_else(unknown),
            cores: cores.unwrap_or_else(|_| unknown()),
            is_virtual: field(&cpuinfo, "flags").map_or_else(unknown, |flags| {
                let is_virtual = flags.split_whitespace().any(|flag| flag == "hypervisor");
                if is_virtual { "yes" } else { "no" }.to_owned()
            }),
            memory: field(&meminfo, "MemTotal").map_or_else(unknown, |text| in_gib(&text)),
            kernel: kernel.unwrap_or_else(|_| unknown()),
            descriptors: descriptors_max()
                .map_or_else(|| "unlimited".to_owned(), |n| n.to_string()),
            program: format!("slabcast {}", env!("CARGO_PKG_VERSION")),
            compiler: env!("SLABCAST_RUSTC").to_owned(),
            build: build().to_owned(),
            load_average: load_average(),
        }
    }

    /// Names and values, for a table.
    pub(crate) fn facts(&self) -> [(&'static str, &str); 9] {
        // Taken apart whole, so that a new fact can't be forgotten here.
        let Self {
            processor,
            cores,
            is_virtual,
            memory,
            kernel,
            descriptors,
            program,
            compiler,
            build,
            load_average: _,
        } = self;
        [
            ("Processor", processor),
            ("Cores for this process", cores),
            ("Virtual machine", is_virtual),
            ("Memory", memory),
            ("Kernel", kernel),
            ("Descriptors for a process", descriptors),
            ("Program", program),
            ("Compiler", compiler),
            ("Build", build),
        ]
    }

    /// Whether others used so much of the machine that the study's figures are theirs too.
    pub(crate) fn is_busy(&self) -> bool {
        let cores = self.cores.parse().unwrap_or(1.0);
        self.load_average.is_some_and(|load| load > cores * BUSY)
    }

    pub(crate) fn is_optimised(&self) -> bool {
        self.build != DEBUG
    }
}

/// Runnable threads a core, above which a machine is not idle.
const BUSY: f64 = 0.5;

const DEBUG: &str = "debug: not optimised, its figures say little";

fn build() -> &'static str {
    if cfg!(debug_assertions) {
        DEBUG
    } else {
        "release"
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The value of a line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

fn in_gib(kilobytes: &str) -> String {
    let number = kilobytes.split_whitespace().next().unwrap_or_default();
    number.parse().map_or_else(
        |_| unknown(),
        |kib: f64| format!("{:.1} GiB", kib / 1024.0 / 1024.0),
    )
}

fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// How many descriptors a process may have at most; none if there is no limit.
pub(crate) fn descriptors_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum
}

/// CPU time of the whole machine since it started, in ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CpuTime {
    total: u64,
    stolen: u64,
}

impl CpuTime {
    /// None where there is no /proc.
    pub(crate) fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let ticks: Vec<u64> = stat
            .lines()
            .find_map(|line| line.strip_prefix("cpu "))?
            .split_whitespace()
            .map_while(|ticks| ticks.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; guests' time is part of user's.
        let known = ticks.get(..8)?;
        Some(Self {
            total: known.iter().sum(),
            stolen: known[7],
        })
    }

    /// Which share of the time since `before` the host gave to others.
    pub(crate) fn stolen_since(self, before: Self) -> f64 {
        let total = self.total.saturating_sub(before.total);
        let stolen = self.stolen.saturating_sub(before.stolen);
        if total == 0 {
            0.0
        } else {
            stolen as f64 / total as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_a_share_of_all_time() {
        let before = CpuTime::parse("cpu  10 0 10 70 0 0 0 10 5 0\ncpu0 1 1\n").unwrap();
        let after = CpuTime::parse("cpu  50 0 20 100 0 0 0 30 40 0\n").unwrap();
        assert_eq!(after.stolen_since(before), 0.2);
        assert_eq!(after.stolen_since(after), 0.0);
        assert_eq!(CpuTime::parse("cpu  1 2 3\n"), None);
    }

    #[test]
    fn a_machine_is_busy_if_half_of_its_cores_are() {
        let machine = |load_average| Machine {
            cores: "4".to_owned(),
            load_average,
            ..Machine::read()
        };
        assert!(machine(Some(2.1)).is_busy());
        assert!(!machine(Some(2.0)).is_busy());
        assert!(!machine(None).is_busy());
    }

    #[test]
    fn facts_are_read_or_unknown() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A Processor\n";
        assert_eq!(field(cpuinfo, "model name").unwrap(), "A Processor");
        assert_eq!(field(cpuinfo, "name"), None);
        assert_eq!(in_gib("2097152 kB"), "2.0 GiB");
        assert_eq!(in_gib(""), "unknown");
        let machine = Machine::read();
        assert!(machine.facts().iter().all(|(_, value)| !value.is_empty()));
    }
}
