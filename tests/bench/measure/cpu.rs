//! CPU time, which is what a measurement on a machine with other work on it can compare.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Of this process, all threads.
pub fn of_process() -> Duration {
    duration(clock_gettime(ClockId::ProcessCPUTime))
}

/// What tells the CPU time of this thread, which costs some 200 ns, or nothing.
pub fn clock(none: bool) -> fn() -> Duration {
    if none { || Duration::ZERO } else { of_thread }
}

fn of_thread() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

fn duration(time: Timespec) -> Duration {
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
