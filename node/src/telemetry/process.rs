//! What the process as a whole takes of the machine, read when somebody asks.

use std::{
    fs, io,
    time::{SystemTime, UNIX_EPOCH},
};

use opentelemetry::metrics::Meter;
use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

/// Makes the instruments. What the system does not say is left out.
pub(super) fn watch(meter: &Meter) {
    meter
        .f64_observable_counter("process_cpu")
        .with_unit("s")
        .with_description("Time of the processor that this process has taken, user and system.")
        .with_callback(|seen| seen.observe(cpu_seconds(), &[]))
        .build();
    meter
        .u64_observable_gauge("process_resident_memory")
        .with_unit("By")
        .with_description("Memory of this process that is in RAM, what it has mapped of files among it.")
        .with_callback(|seen| resident_bytes().into_iter().for_each(|bytes| seen.observe(bytes, &[])))
        .build();
    meter
        .u64_observable_gauge("process_open_fds")
        .with_description("Files, sockets and other descriptors that are open.")
        .with_callback(|seen| open_fds().into_iter().for_each(|count| seen.observe(count, &[])))
        .build();
    meter
        .u64_observable_gauge("process_max_fds")
        .with_description("Descriptors that may be open.")
        .with_callback(|seen| {
            let limit = getrlimit(Resource::Nofile).current;
            limit.into_iter().for_each(|limit| seen.observe(limit, &[]));
        })
        .build();
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    meter
        .u64_observable_gauge("process_start_time")
        .with_unit("s")
        .with_description("When this process was started, in seconds since 1970.")
        .with_callback(move |seen| seen.observe(started, &[]))
        .build();
}

#[expect(clippy::cast_precision_loss, reason = "the clock is finer than needed")]
fn cpu_seconds() -> f64 {
    let taken = clock_gettime(ClockId::ProcessCPUTime);
    taken.tv_sec as f64 + taken.tv_nsec as f64 / 1e9
}

fn resident_bytes() -> Option<u64> {
    resident(&fs::read_to_string("/proc/self/status").ok()?)
}

/// From the text of `/proc/PID/status`, see `proc_pid_status(5)`.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn open_fds() -> io::Result<u64> {
    // One of them is that of this look.
    Ok((fs::read_dir("/proc/self/fd")?.count() as u64).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_as_the_kernel_writes_it() {
        let check = |status, expected| assert_eq!(resident(status), expected, "{status}");
        check("Name:\tnode\nVmHWM:\t   90000 kB\nVmRSS:\t   12345 kB\nRssAnon:\t 1 kB\n", Some(12_345 << 10));
        check("Name:\tnode\n", None);
        check("VmRSS:\t12345\n", None);
        assert!(resident_bytes().unwrap() > 1 << 20);
    }

    #[test]
    fn descriptor_that_is_opened_is_counted() {
        let before = open_fds().unwrap();
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Others open and close theirs meanwhile.
        assert!(open_fds().unwrap() >= before + 50);
        drop(files);
    }
}
