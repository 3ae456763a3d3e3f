//! Two nodes with a bad line between them: of all packets, three in ten are lost.
//!
//! This needs root, for a network of its own that is gone with this process, and packet filters in it. So it has a runner
//! of its own that says SKIPPED where they are missing, as `power_cut` does. To nextest it shows no tests.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends at the first surprise")]
#![allow(dead_code, reason = "the nodes are those of the tests of peers, which use more of them")]

#[path = "../../../actors/tests/peers/support/mod.rs"]
mod support;

use std::{
    io::Write,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use support::{Tessera, pair};

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if std::env::var_os(UNSHARED).is_none() {
        if !rustix::process::geteuid().is_root() {
            say("lossy: SKIPPED: only root can have a network of its own");
            return ExitCode::SUCCESS;
        }
        return run_unshared();
    }
    if let Err(missing) = lose_packets() {
        return skipped(&format!("this machine has no packet filter: {missing}"));
    }
    let begun = Instant::now();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let talked = tokio::time::timeout(DEADLINE, talk()).await;
        talked.expect("it takes too long");
    });
    let (lost, all) = (counted("lost"), counted("seen"));
    say(&format!("  {lost} of {all} packets were lost"));
    assert!(lost * 100 >= all * LOST_PERCENT_MIN && lost > 0, "{lost} of {all} packets were lost");
    say(&format!("test two nodes with 30 % loss ... ok ({:.1} s)", begun.elapsed().as_secs_f32()));
    ExitCode::SUCCESS
}

/// Where nobody looks at what is written, a root that cannot test this has not tested it.
fn skipped(missing: &str) -> ExitCode {
    say(&format!("lossy: SKIPPED: {missing}"));
    if std::env::var_os("CI").is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs this program again with a network of its own: it is gone with its last process, whichever way that ends.
fn run_unshared() -> ExitCode {
    let program = std::env::current_exe().unwrap();
    let status = Command::new("unshare").args(["--net", "--"]).arg(program).env(UNSHARED, "1").status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(missing) => skipped(&format!("there is no unshare: {missing}")),
    }
}

/// From now on packets are lost in this network.
fn lose_packets() -> Result<(), String> {
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    up.map_err(|error| format!("ip: {error}"))?;
    let filter = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn();
    let mut filter = filter.map_err(|error| format!("nft: {error}"))?;
    filter.stdin.take().unwrap().write_all(RULES.as_bytes()).map_err(|error| error.to_string())?;
    let status = filter.wait().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err("nft refuses the rule".to_owned()) }
}

/// Packets that one of the filter's counters has seen.
fn counted(name: &str) -> u64 {
    let listed = Command::new("nft").args(["list", "counter", "inet", "lossy", name]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let (_, packets) = listed.split_once("packets ").unwrap_or_else(|| panic!("no counter in {listed}"));
    packets.split_whitespace().next().unwrap().parse().unwrap()
}

/// All that two nodes do with each other, over and over where it does not work at once.
async fn talk() {
    let (a, b) = pair().await;
    let tessera = Tessera::new(&a.author, 1, 200_000);
    let mut tries = 0;
    patiently(&mut tries, async || a.system.remote.hello(b.id(), true, None).await).await;
    patiently(&mut tries, async || tessera.introduce(&a, b.id()).await).await;
    for stripe in 0..tessera.fragments.len() {
        let kept = patiently(&mut tries, async || tessera.give(&a, b.id(), stripe).await).await;
        assert_eq!(kept.receipt.checksum, tessera.fragments[stripe].checksum());
    }
    for (stripe, fragment) in tessera.fragments.iter().enumerate() {
        let (id, checksum) = (tessera.fragment(stripe), fragment.checksum());
        let got = patiently(&mut tries, async || a.system.remote.fragment(b.id(), id, checksum).await).await;
        assert_eq!(&got, fragment);
    }
    let stripes = 0..u32::try_from(tessera.fragments.len()).unwrap();
    let claim =
        patiently(&mut tries, async || a.system.remote.attest(b.id(), tessera.id(), stripes.clone()).await);
    assert_eq!(claim.await.fragments.len(), tessera.fragments.len());
    let steps = 3 + 2 * tessera.fragments.len();
    say(&format!("  {steps} steps, {tries} tries"));
    assert!(tries <= 3 * steps, "{tries} tries");
    assert!(b.system.standing.borrow().actors.iter().all(|actor| actor.restarts == 0));
}

/// What a person would do: once more, a moment later.
async fn patiently<T, E: std::fmt::Display>(tries: &mut usize, ask: impl AsyncFn() -> Result<T, E>) -> T {
    loop {
        *tries += 1;
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => say(&format!("  once more: {error}")),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn say(line: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stdout(), "{line}");
}

const RULES: &str = "table inet lossy {
    counter seen {}
    counter lost {}
    chain input {
        type filter hook input priority 0;
        meta l4proto udp counter name seen
        meta l4proto udp numgen random mod 100 < 30 counter name lost drop
    }
}
";
/// By chance it is not always three in ten.
const LOST_PERCENT_MIN: u64 = 20;
const UNSHARED: &str = "TESSERAS_TEST_UNSHARED";
const PAUSE: Duration = Duration::from_millis(500);
/// By chance a request is lost so often that it is given up, half a minute each time.
const DEADLINE: Duration = Duration::from_secs(420);
