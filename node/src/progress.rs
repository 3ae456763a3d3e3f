//! Progress on a terminal: how much is done, how fast, and how long it still takes. Nothing is drawn when standard
//! error is not a terminal.

use std::{future::Future, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{goes_to_a_file, is_watched};

/// A bar of bytes; without a total it shows only how much is done and how fast.
pub(crate) fn bytes(doing: &'static str, total: Option<u64>) -> ProgressBar {
    let bar = match total {
        Some(total) => bar(total, BYTES_OF_TOTAL),
        None => bar(0, BYTES),
    };
    bar.with_message(doing)
}

/// A bar of bytes that are written to standard output; hidden unless that is a file.
pub(crate) fn bytes_written(doing: &'static str, total: Option<u64>) -> ProgressBar {
    if goes_to_a_file() { bytes(doing, total) } else { ProgressBar::hidden() }
}

/// A bar of things to be counted; their number is told later.
pub(crate) fn count(doing: &'static str, things: &'static str) -> ProgressBar {
    bar(0, COUNT).with_message(doing).with_prefix(things)
}

/// The same, where each takes long: it also says what it is told of the one that is under way.
pub(crate) fn count_told(doing: &'static str) -> ProgressBar {
    bar(0, COUNT_TOLD).with_prefix(doing)
}

/// A bar that says what it is told.
pub(crate) fn told() -> ProgressBar {
    bar(0, TOLD)
}

/// Waits for `work`, and says what it is waiting for when that takes long.
pub(crate) async fn patiently<T>(doing: &'static str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        outcome = &mut work => return outcome,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    let spinner = bar(0, SPINNER).with_message(doing).with_elapsed(PATIENCE);
    spinner.enable_steady_tick(TICK);
    let outcome = work.await;
    spinner.finish_and_clear();
    outcome
}

fn bar(total: u64, template: &str) -> ProgressBar {
    let target = if is_watched() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    // The templates are constants; a wrong one would show indicatif's own style instead.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(total), target).with_style(style)
}

const BYTES_OF_TOTAL: &str = "{msg} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
const BYTES: &str = "{msg} {spinner} {bytes}, {bytes_per_sec}";
const COUNT: &str = "{msg} {bar:30} {pos} of {len} {prefix}, {per_sec}, {eta} left";
const COUNT_TOLD: &str = "{prefix} {bar:20} {pos} of {len}, {eta} left; {wide_msg}";
const TOLD: &str = "{bar:20} {wide_msg}";
const SPINNER: &str = "{msg} {spinner} {elapsed}";

/// Whatever takes longer than this says what it is doing.
const PATIENCE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);
