//! What a process uses, as `/proc` tells: CPU by thread, resident memory, and who listens where.

use std::{
    collections::HashMap,
    fs, io,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

/// A process of this machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    pid: u32,
}

/// CPU time of each thread at one moment.
#[derive(Debug)]
pub(super) struct Sample {
    at: Instant,
    threads: HashMap<u32, Spent>,
}

/// How a thread spent its time so far; the rest of it, it slept.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    ran_ns: u64,
    /// Ready to run, while others had the cores.
    queued_ns: u64,
}

impl Process {
    pub(super) fn own() -> Self {
        Self {
            pid: std::process::id(),
        }
    }

    /// None if nothing can be read of it.
    pub(super) fn find(pid: u32) -> Option<Self> {
        let process = Self { pid };
        process.sample().map(|_| process)
    }

    /// The process that listens on `address`, if it is on this machine and ours to look at.
    pub(super) fn listening_on(address: SocketAddr) -> Option<Self> {
        if !address.ip().is_loopback() {
            return None;
        }
        let inodes: Vec<_> = ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .flat_map(|table| listeners(&table, address))
            .map(|inode| format!("socket:[{inode}]"))
            .collect();
        let holds_one = |process: &Self| {
            let links = fs::read_dir(format!("/proc/{}/fd", process.pid));
            links.is_ok_and(|links| {
                links
                    .filter_map(|link| fs::read_link(link.ok()?.path()).ok())
                    .any(|to| inodes.iter().any(|inode| to.as_os_str() == inode.as_str()))
            })
        };
        numbers_in("/proc")
            .ok()?
            .map(|pid| Self { pid })
            .find(holds_one)
    }

    pub(super) fn sample(self) -> Option<Sample> {
        let pid = self.pid;
        let threads = numbers_in(&format!("/proc/{pid}/task")).ok()?;
        let threads: HashMap<_, _> = threads
            .filter_map(|thread| {
                let path = format!("/proc/{pid}/task/{thread}/schedstat");
                let text = fs::read_to_string(path).ok()?;
                let mut fields = text.split_ascii_whitespace();
                let spent = Spent {
                    ran_ns: fields.next()?.parse().ok()?,
                    queued_ns: fields.next()?.parse().ok()?,
                };
                Some((thread, spent))
            })
            .collect();
        let at = Instant::now();
        (!threads.is_empty()).then_some(Sample { at, threads })
    }

    /// 0 if it can't be read.
    pub(super) fn resident_bytes(self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.unwrap_or_default() * 1024
    }
}

impl Sample {
    /// Nanoseconds that all threads used since `earlier`. What a thread used that has ended
    /// meanwhile is not known; one that has begun began with nothing.
    pub(super) fn cpu_ns_since(&self, earlier: &Self) -> u64 {
        self.each_since(earlier).map(|spent| spent.ran_ns).sum()
    }

    /// How long the busiest thread ran since `earlier`, as a part of that time.
    pub(super) fn busiest_since(&self, earlier: &Self) -> f64 {
        let ran = self.each_since(earlier).map(|spent| spent.ran_ns);
        ran.max().unwrap_or_default() as f64 / self.ns_since(earlier)
    }

    /// How long the thread that slept least ran or was ready to, as a part of that time.
    pub(super) fn awake_since(&self, earlier: &Self) -> f64 {
        let each = self.each_since(earlier);
        let awake = each.map(|spent| spent.ran_ns + spent.queued_ns);
        awake.max().unwrap_or_default() as f64 / self.ns_since(earlier)
    }

    /// How many cores all threads kept busy since `earlier`.
    pub(super) fn cores_since(&self, earlier: &Self) -> f64 {
        self.cpu_ns_since(earlier) as f64 / self.ns_since(earlier)
    }

    fn ns_since(&self, earlier: &Self) -> f64 {
        let elapsed = self.at.saturating_duration_since(earlier.at);
        (elapsed.as_nanos() as f64).max(1.0)
    }

    fn each_since(&self, earlier: &Self) -> impl Iterator<Item = Spent> {
        self.threads.iter().map(|(thread, now)| {
            let before = earlier.threads.get(thread).copied().unwrap_or_default();
            Spent {
                ran_ns: now.ran_ns.saturating_sub(before.ran_ns),
                queued_ns: now.queued_ns.saturating_sub(before.queued_ns),
            }
        })
    }
}

/// TCP segments that this machine has sent again, since its start.
pub(super) fn retransmitted_segments() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/snmp").ok()?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split(' ').position(|name| name == "RetransSegs")?;
    values.split(' ').nth(at)?.parse().ok()
}

fn numbers_in(folder: &str) -> io::Result<impl Iterator<Item = u32> + use<>> {
    let entries = fs::read_dir(folder)?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// The inodes of sockets that listen on an address, in a table of `/proc/net`.
fn listeners(table: &str, address: SocketAddr) -> Vec<u64> {
    const LISTENING: &str = "0A";
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            let &[_, local, _, state, ..] = &fields[..] else {
                return None;
            };
            let (ip, port) = local.split_once(':')?;
            let is_here = u16::from_str_radix(port, 16) == Ok(address.port())
                && (ip.bytes().all(|byte| byte == b'0') || ip == hex(address.ip()));
            (state == LISTENING && is_here).then(|| fields.get(9)?.parse().ok())?
        })
        .collect()
}

/// An address as `/proc/net` writes it: words of the machine's byte order.
fn hex(ip: IpAddr) -> String {
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let (words, _) = octets.as_chunks::<4>();
    let word = |word: &[u8; 4]| format!("{:08X}", u32::from_ne_bytes(*word));
    words.iter().map(word).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_is_found_by_its_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = Process::listening_on(address).unwrap();
        assert_eq!(found.pid, std::process::id());
        drop(listener);
        assert!(Process::listening_on(address).is_none());
    }

    #[test]
    fn threads_that_come_and_go_make_no_figure_negative() {
        let at = Instant::now();
        let sample = |threads: &[(u32, u64)]| Sample {
            at,
            threads: threads
                .iter()
                .map(|&(thread, ran_ns)| {
                    let spent = Spent {
                        ran_ns,
                        queued_ns: 0,
                    };
                    (thread, spent)
                })
                .collect(),
        };
        let earlier = sample(&[(1, 100), (2, 5_000)]);
        let later = sample(&[(1, 150), (3, 7)]);
        assert_eq!(later.cpu_ns_since(&earlier), 57);
        assert_eq!(earlier.cpu_ns_since(&later), 5_000);
    }

    #[test]
    fn what_this_process_uses_is_read() {
        let process = Process::own();
        let before = process.sample().unwrap();
        let spun = (0..20_000_000_u64).fold(0, |a, b| a ^ std::hint::black_box(b));
        let after = process.sample().unwrap();
        assert!(after.cpu_ns_since(&before) > 1_000_000, "{spun}");
        assert!(process.resident_bytes() > 100_000);
        assert!(retransmitted_segments().is_some());
        assert!(Process::find(u32::MAX).is_none());
    }
}
