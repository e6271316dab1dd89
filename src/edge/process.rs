//! The `process_*` series, read from /proc at each scrape.

use std::fs;

use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};

/// Keys of the kernel's auxiliary vector (getauxval(3)).
const AT_PAGESZ: usize = 6;
const AT_CLKTCK: usize = 17;

/// The units in which /proc counts, and when this process started; none of them changes.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    page_bytes: f64,
    ticks_per_second: f64,
    start_time_seconds: f64,
}

impl Process {
    /// Asks the kernel for what never changes. A value that cannot be read is taken as Linux's
    /// usual one; the start time as 0.
    pub fn new() -> Self {
        let auxv = fs::read("/proc/self/auxv").unwrap_or_default();
        let ticks_per_second = auxiliary(&auxv, AT_CLKTCK).unwrap_or(100) as f64;
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        let boot_seconds = boot
            .lines()
            .find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        let started_ticks = read_stat().and_then(|stat| number(&stat, 22));
        let start = boot_seconds.zip(started_ticks);
        Self {
            page_bytes: auxiliary(&auxv, AT_PAGESZ).unwrap_or(4096) as f64,
            ticks_per_second,
            start_time_seconds: start.map_or(0.0, |(boot, ticks)| boot + ticks / ticks_per_second),
        }
    }

    /// The families of this moment, in the order of their names. What cannot be read is left out,
    /// because a 0 would be a lie.
    pub fn families(&self) -> Vec<MetricFamily> {
        let stat = read_stat().unwrap_or_default();
        let ticks = |field| number(&stat, field);
        let cpu = ticks(14)
            .zip(ticks(15))
            .map(|(user, system)| (user + system) / self.ticks_per_second);
        let open = fs::read_dir("/proc/self/fd").map(|entries| entries.count().saturating_sub(1));
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let rows = [
            (
                "process_cpu_seconds_total",
                "User and system CPU time spent, in seconds.",
                cpu,
            ),
            (
                "process_max_fds",
                "Limit of open file descriptors.",
                Some(limit.map_or(f64::MAX, |limit| limit as f64)),
            ),
            (
                "process_open_fds",
                "Open file descriptors.",
                open.ok().map(|open| open as f64),
            ),
            (
                "process_resident_memory_bytes",
                "Resident memory in bytes.",
                ticks(24).map(|pages| pages * self.page_bytes),
            ),
            (
                "process_start_time_seconds",
                "Start of the process in Unix seconds.",
                Some(self.start_time_seconds),
            ),
            ("process_threads", "Threads of the process.", ticks(20)),
            (
                "process_virtual_memory_bytes",
                "Virtual memory in bytes.",
                ticks(23),
            ),
        ];
        rows.into_iter()
            .filter_map(|(name, help, value)| Some(family(name, help, value?)))
            .collect()
    }
}

impl Default for Process {
    fn default() -> Self {
        Self::new()
    }
}

fn family(name: &str, help: &str, value: f64) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    let mut metric = Metric::default();
    if name.ends_with("_total") {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
        family.set_field_type(MetricType::COUNTER);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
        family.set_field_type(MetricType::GAUGE);
    }
    family.set_metric(vec![metric]);
    family
}

fn read_stat() -> Option<String> {
    fs::read_to_string("/proc/self/stat").ok()
}

/// Field of /proc/self/stat by its number in proc_pid_stat(5). The second field is the program's
/// name in parentheses and may contain blanks and parentheses itself.
fn number(stat: &str, field: usize) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name
        .split_ascii_whitespace()
        .nth(field - 3)?
        .parse()
        .ok()
}

fn auxiliary(auxv: &[u8], key: usize) -> Option<usize> {
    const WORD: usize = size_of::<usize>();
    let word = |bytes: &[u8]| Some(usize::from_ne_bytes(bytes.try_into().ok()?));
    auxv.chunks_exact(2 * WORD)
        .find(|pair| word(&pair[..WORD]) == Some(key))
        .and_then(|pair| word(&pair[WORD..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(families: &[MetricFamily], name: &str) -> f64 {
        let family = families
            .iter()
            .find(|family| family.name() == name)
            .unwrap();
        let metric = &family.get_metric()[0];
        match family.get_field_type() {
            MetricType::COUNTER => metric.get_counter().get_value(),
            _ => metric.get_gauge().get_value(),
        }
    }

    #[test]
    fn values_are_those_of_this_process() {
        let process = Process::new();
        let files: Vec<_> = (0..100)
            .map(|_| fs::File::open("/proc/self/stat").unwrap())
            .collect();
        let memory = vec![1u8; 32 << 20];
        let during = process.families();
        assert!(files.len() == 100 && memory.iter().all(|byte| *byte == 1));
        assert!((100.0..1000.0).contains(&value(&during, "process_open_fds")));
        let resident = value(&during, "process_resident_memory_bytes");
        assert!(value(&during, "process_virtual_memory_bytes") > resident);
        assert!((32e6..4e9).contains(&resident));
        assert!(value(&during, "process_threads") >= 2.0);
        assert!(value(&during, "process_max_fds") >= value(&during, "process_open_fds"));
        let status = fs::metadata("/proc/self").unwrap().modified().unwrap();
        let about = status
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let started = value(&during, "process_start_time_seconds");
        assert!(
            (started - about).abs() < 60.0,
            "{started} is not about {about}"
        );
    }

    #[test]
    fn the_default_page_stays_within_350_series() {
        let profiles = crate::detect::profile::profiles(&toml::Table::new(), None).unwrap();
        let active =
            ["dynamodb.TransactWriteItems", "dynamodb.ExecuteTransaction"].map(str::to_owned);
        let metrics = crate::metrics::Metrics::new(&profiles, &active);
        let (_, page) = crate::metrics::exposition::render(&metrics, Process::new().families(), "");
        let page = String::from_utf8(page).unwrap();
        let series = page.lines().filter(|line| !line.starts_with('#')).count();
        assert!((250..=350).contains(&series), "{series} series");
        assert_eq!(
            page.lines()
                .filter(|line| line.starts_with("process_"))
                .count(),
            7
        );
    }

    #[test]
    fn cpu_time_has_fractions_of_a_second() {
        let process = Process::new();
        let cpu = || value(&process.families(), "process_cpu_seconds_total");
        let start = cpu();
        let mut sum = 0u64;
        while cpu() < start + 0.05 {
            sum = sum.wrapping_add((0..100_000).sum());
        }
        assert!(sum > 0 && cpu() < start + 10.0);
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 140 150";
        assert_eq!(
            (number(stat, 4), number(stat, 14), number(stat, 15)),
            (Some(1.0), Some(140.0), Some(150.0))
        );
        assert_eq!(number(stat, 30), None);
        assert_eq!(number("", 3), None);
    }
}
