//! What the process uses up, as far as the system says: Linux, by `/proc`.

use std::{fs, path::Path, sync::OnceLock};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

/// What the process uses up. What is unknown is none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    /// Since the Unix epoch.
    pub(super) start_time_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    pub(super) open_descriptors: Option<u64>,
    pub(super) descriptors_max: Option<u64>,
}

impl Process {
    /// Looks now.
    pub(super) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").ok();
        let stat = stat.as_deref().and_then(Stat::parse).unwrap_or_default();
        let ticks = clock_ticks_per_second() as f64;
        Self {
            cpu_seconds: stat.cpu_ticks.map(|count| count as f64 / ticks),
            start_time_seconds: stat
                .start_ticks
                .and_then(|count| Some(boot_time_seconds()? + count as f64 / ticks)),
            resident_bytes: stat.resident_pages.map(|pages| pages * page_size() as u64),
            virtual_bytes: stat.virtual_bytes,
            open_descriptors: open_descriptors(Path::new("/proc/self/fd")),
            descriptors_max: getrlimit(Resource::Nofile).current,
        }
    }
}

/// The part of proc_pid_stat(5) that is of use.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stat {
    cpu_ticks: Option<u64>,
    /// Since the system's start.
    start_ticks: Option<u64>,
    virtual_bytes: Option<u64>,
    resident_pages: Option<u64>,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is a name, which can hold spaces and parentheses itself.
        let (_, behind_name) = text.rsplit_once(") ")?;
        let fields: Vec<_> = behind_name.split_whitespace().collect();
        // By the manual's numbers, of which the first behind the name is 3.
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        let (user, system): (Option<u64>, Option<u64>) = (field(14), field(15));
        Some(Self {
            cpu_ticks: user.zip(system).map(|(user, system)| user + system),
            start_ticks: field(22),
            virtual_bytes: field(23),
            resident_pages: field(24),
        })
    }
}

/// When the system started. It is read once: on a large machine that file is long.
fn boot_time_seconds() -> Option<f64> {
    static BOOT_TIME: OnceLock<Option<f64>> = OnceLock::new();
    *BOOT_TIME.get_or_init(|| {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
        line.trim().parse().ok()
    })
}

/// How many there are in `directory`. Since 6.2, Linux says so without listing them.
fn open_descriptors(directory: &Path) -> Option<u64> {
    let told = fs::metadata(directory).ok()?.len();
    if told > 0 {
        return Some(told);
    }
    // The listing has one of its own.
    Some((fs::read_dir(directory).ok()?.count() as u64).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_hold_anything() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 50 25 8 9 20 0 4 0 1234 5678 90 1";
        let wanted = Stat {
            cpu_ticks: Some(75),
            start_ticks: Some(1234),
            virtual_bytes: Some(5678),
            resident_pages: Some(90),
        };
        assert_eq!(Stat::parse(text), Some(wanted));
        assert_eq!(Stat::parse("7 (a) S 1"), Some(Stat::default()));
        assert_eq!(Stat::parse(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_up_something() {
        let process = Process::read();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let age = now - process.start_time_seconds.unwrap();
        assert!((-2.0..3600.0).contains(&age), "{age}");
        let resident = process.resident_bytes.unwrap();
        assert!((1 << 20..1 << 32).contains(&resident), "{resident}");
        assert!(process.virtual_bytes.unwrap() >= resident);
        assert!(process.cpu_seconds.unwrap() < 3600.0);
        let open = process.open_descriptors.unwrap();
        assert!(
            (3..=process.descriptors_max.unwrap()).contains(&open),
            "{open}"
        );
    }
}
