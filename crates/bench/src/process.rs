//! What processes and the machine used, from /proc: processor time, memory, bytes written.

use nix::{time::clock_getcpuclockid, unistd};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::{HashMap, HashSet},
    fs,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// A process and all below it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub cpu: Duration,
    pub resident_bytes: u64,
    pub peak_resident_bytes: u64,
    pub written_bytes: u64,
}

fn ticks(count: u64) -> Duration {
    Duration::from_secs_f64(count as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The fields of /proc/PID/stat behind the name, which may hold anything: `[0]` is the state, field 3 of proc(5).
fn stat(pid: i32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = text.rsplit_once(')')?.1;
    Some(fields.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// `roots` and their descendants.
fn tree(roots: &[i32]) -> HashSet<i32> {
    let parents: HashMap<i32, i32> =
        processes().filter_map(|pid| Some((pid, i32::try_from(*stat(pid)?.get(1)?).ok()?))).collect();
    let mut found: HashSet<i32> = roots.iter().copied().filter(|pid| parents.contains_key(pid)).collect();
    loop {
        let more: Vec<i32> = parents
            .iter()
            .filter(|(pid, parent)| found.contains(parent) && !found.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

/// The process's CPU clock counts nanoseconds, /proc/PID/stat hundredths of a second; both count threads that ended.
fn cpu(pid: i32, stat: &[u64]) -> Duration {
    let field = |n: usize| ticks(stat.get(n).copied().unwrap_or(0));
    let own = clock_getcpuclockid(unistd::Pid::from_raw(pid)).and_then(|clock| clock.now());
    // Children that ended are counted at their parent.
    own.map_or_else(|_| field(11) + field(12), Duration::from) + field(13) + field(14)
}

/// What `roots` and the processes below them used so far. `reset_peak` starts a new count of the most resident memory.
pub(crate) fn usage(roots: &[i32], reset_peak: bool) -> Usage {
    let mut sum = Usage::default();
    for pid in tree(roots) {
        let Some(stat) = stat(pid) else { continue };
        sum.cpu += cpu(pid, &stat);
        let value = |file: &str, name: &str| {
            let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        sum.resident_bytes += value("status", "VmRSS:") << 10;
        sum.peak_resident_bytes += value("status", "VmHWM:") << 10;
        sum.written_bytes += value("io", "write_bytes:");
        if reset_peak {
            // Not allowed for another user's process: the peak is then that of its life.
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
    }
    sum
}

/// Servers of which one runs at a time. All go on when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Held(HashSet<i32>);

impl Held {
    /// Lets `these` and what is below them run, and stops the `others`.
    pub(crate) fn turn(&mut self, these: &[i32], others: &[i32]) {
        let these = tree(these);
        let stop: HashSet<i32> = tree(others).difference(&these).copied().collect();
        signal(self.0.difference(&stop), Signal::CONT);
        signal(stop.difference(&self.0), Signal::STOP);
        self.0 = stop;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        signal(self.0.iter(), Signal::CONT);
    }
}

fn signal<'a>(pids: impl Iterator<Item = &'a i32>, signal: Signal) {
    for pid in pids.filter_map(|pid| Pid::from_raw(*pid)) {
        // One that has ended, or is another user's, stays as it is.
        let _ = kill_process(pid, signal);
    }
}

/// Processor time of this process.
pub(crate) fn own_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Processor time that all processes used, and that the hypervisor took away.
pub(crate) fn machine_cpu() -> (Duration, Duration) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or("");
    let fields: Vec<u64> = line.split_ascii_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let field = |n: usize| fields.get(n).copied().unwrap_or(0);
    // user, nice, system, irq, softirq; steal.
    (ticks(field(0) + field(1) + field(2) + field(5) + field(6)), ticks(field(7)))
}

/// The processes that listen at an address of this machine.
pub(crate) fn listeners(address: SocketAddr) -> Vec<i32> {
    const LISTEN: &str = "0A";
    if !address.ip().is_loopback() && !matches!(address.ip(), IpAddr::V4(ip) if ip.is_unspecified()) {
        return Vec::new();
    }
    let port = format!(":{:04X}", address.port());
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| fs::read_to_string(file).unwrap_or_default());
    let sockets: HashSet<String> = tables
        .iter()
        .flat_map(|table| table.lines())
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.len() > 9 && fields[1].ends_with(&port) && fields[3] == LISTEN)
        .map(|fields| format!("socket:[{}]", fields[9]))
        .collect();
    let holds = |pid: &i32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|to| to.to_str().is_some_and(|to| sockets.contains(to)))
    };
    processes().filter(holds).collect()
}

/// The machine, for the report.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Machine {
    pub cores: usize,
    pub cpu_model: String,
    pub avx512: bool,
    pub kernel: String,
    pub memory_bytes: u64,
}

impl Machine {
    pub(crate) fn here() -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| cpu.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(": "));
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = memory.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu_model: field("model name").map_or("", |(_, model)| model).to_owned(),
            avx512: field("flags").is_some_and(|(_, flags)| flags.split(' ').any(|flag| flag == "avx512f")),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            memory_bytes: kib << 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};
    use std::{net::TcpListener, process};

    #[test]
    fn this_process_is_found_by_its_port_and_its_time_counts() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let here = process::id() as i32;
        assert_eq!(listeners(socket.local_addr().expect("bound")), [here]);
        let before = usage(&[here], false);
        let mut state = 1;
        while usage(&[here], false).cpu - before.cpu < Duration::from_millis(5) {
            crate::body::next_random(&mut state);
        }
        assert!(before.resident_bytes > 0 && before.peak_resident_bytes >= before.resident_bytes);
        assert!(own_cpu() > Duration::from_millis(5));
    }

    /// Field 3 of proc(5).
    fn is_stopped(child: &Child) -> bool {
        let text = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        text.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('T'))
    }
    fn soon(what: impl Fn() -> bool) -> bool {
        (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            what()
        })
    }

    #[test]
    fn one_server_runs_at_a_time_and_all_go_on_in_the_end() {
        let mut servers = [0, 1].map(|_| Command::new("sleep").arg("60").spawn().unwrap());
        let pids = [servers[0].id() as i32, servers[1].id() as i32];
        let mut held = Held::default();
        for turn in [0, 1, 1, 0] {
            held.turn(&pids[turn..=turn], &pids);
            assert!(soon(|| !is_stopped(&servers[turn]) && is_stopped(&servers[1 - turn])), "turn of {turn}");
        }
        drop(held);
        assert!(soon(|| !servers.iter().any(is_stopped)));
        for server in &mut servers {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }
}
