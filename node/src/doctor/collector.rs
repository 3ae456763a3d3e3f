//! The collector that metrics, traces and logs are sent to, if one is configured.

use std::{
    io,
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use config::ObservabilityConfig;

use super::Check;

/// Whether it takes a connection, and whether a daemon that runs has dropped anything.
pub(super) fn examine(config: &ObservabilityConfig, dropped: Option<u64>) -> Option<Check> {
    let collector = config.otlp_endpoint.as_ref()?.as_str();
    Some(judged(collector, &connect(collector), dropped.unwrap_or(0)))
}

fn connect(collector: &str) -> io::Result<()> {
    let mut outcome = Err(io::Error::other("its name has no address"));
    for address in address(collector).to_socket_addrs()? {
        outcome = TcpStream::connect_timeout(&address, PATIENCE).map(drop);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// The host and port of `http://HOST[:PORT][/PATH]`.
fn address(collector: &str) -> String {
    let rest = collector.strip_prefix("http://").unwrap_or(collector);
    let host = rest.split('/').next().unwrap_or(rest);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    if has_port { host.to_owned() } else { format!("{host}:{PORT}") }
}

fn judged(collector: &str, connected: &io::Result<()>, dropped: u64) -> Check {
    let lost = match dropped {
        0 => String::new(),
        many => {
            format!("; {many} metrics, spans or lines of the log were dropped since the daemon was started")
        }
    };
    match connected {
        Err(error) => Check::warning(
            COLLECTOR,
            format!(
                "{collector} takes no connection ({error}), so what happens here is not told there{lost}"
            ),
            "start the collector, or set observability.otlp_endpoint to where one is, or to \"off\", and restart the daemon",
        ),
        Ok(()) if dropped > 0 => Check::warning(
            COLLECTOR,
            format!("{collector} takes connections{lost}"),
            "the daemon's log and the collector's say why; if the collector was only away for a while, nothing is to be done",
        ),
        Ok(()) => Check::ok(COLLECTOR, format!("{collector} takes connections")),
    }
}

const COLLECTOR: &str = "collector";
const PORT: u16 = 80;
/// It is on this machine or near.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::doctor::{Outcome, tests::check};

    #[test]
    fn collector_that_is_not_there_or_takes_not_all_is_a_warning() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let collector = format!("http://{}/otlp", listener.local_addr().unwrap());
        let found = |dropped| judged(&collector, &connect(&collector), dropped);
        check(&found(0), Outcome::Ok, "takes connections");
        check(&found(3), Outcome::Warning, "3 metrics, spans or lines of the log were dropped");
        drop(listener);
        check(&found(3), Outcome::Warning, "3 metrics");
        check(&found(0), Outcome::Warning, "start the collector");
    }

    #[test]
    fn address_without_a_port_is_that_of_http() {
        assert_eq!(address("http://collector/otlp"), "collector:80");
        assert_eq!(address("http://[::1]"), "[::1]:80");
        assert_eq!(address("http://[::1]:4318/a"), "[::1]:4318");
    }
}
