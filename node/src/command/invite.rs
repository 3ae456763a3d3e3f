//! `invite` and `join`: two persons make their nodes known to each other with one line.

use std::time::Duration;

use config::HostPort;
use proto::invite::Invite as Line;

use super::{
    Context,
    peers::{show, size},
};
use crate::{
    api::{Invited, Join as Joining, NewInvite, Ping},
    args::this_node,
    clock::now_ms,
    exit::Exit,
    failure::Failure,
    human,
    network::name,
    problem::Kind,
};

/// Invite somebody: prints one line for them, with which their node and this one come to know each other
#[derive(Debug, clap::Args)]
pub(crate) struct Invite {
    /// How much will be kept here for them, such as "200 GB" [default: replication.max_storage_per_peer]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    allow: Option<u64>,
    /// How long the line holds, such as "7 days"; at most 90 days
    #[arg(long = "for", value_name = "SPAN", default_value = "7 days", value_parser = span)]
    span: Duration,
    /// What to call their node here, such as "ann"
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// Where they are to come, instead of where this node is known to be reached; may be repeated
    #[arg(long = "at", value_name = "HOST:PORT")]
    addresses: Vec<HostPort>,
}

/// Follow an invite: this node and the one that it is from know each other from then on
#[derive(Debug, clap::Args)]
pub(crate) struct Join {
    /// The line that was sent to you; it may have been broken into several
    #[arg(value_name = "LINE", required = true)]
    line: Vec<String>,
    /// How much may be kept here for them, such as "200 GB" [default: replication.max_storage_per_peer]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    allow: Option<u64>,
    /// What to call their node here, such as "ann"
    #[arg(long, value_parser = name)]
    name: Option<String>,
}

impl Invite {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let addresses = self.addresses.iter().map(ToString::to_string).collect();
        let new = NewInvite {
            allow_bytes: self.allow,
            name: self.name.clone(),
            valid_for_secs: Some(self.span.as_secs()),
            addresses,
        };
        let invited: Invited = context.client()?.post("/v1/invites", &new).await?;
        if context.output.json {
            context.output.json(&invited)?;
        } else {
            context.output.line(&invited.line)?;
            context.output.remark(&remark(&invited));
        }
        Ok(Exit::Ok)
    }
}

impl Join {
    /// Does it. What is no invite, not a whole one, or no longer one is refused before anybody is asked.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let line = self.line.concat();
        let invite =
            Line::read(&line, now_ms()).map_err(|error| Failure::new(Kind::Usage, error.to_string()))?;
        let joining = Joining { line, allow_bytes: self.allow, name: self.name.clone() };
        let ping: Ping = context.client()?.post("/v1/join", &joining).await?;
        context.output.remark(&format!("{} and this node know each other from now on.", invite.node));
        show(context, &ping)?;
        Ok(Exit::Ok)
    }
}

fn remark(invited: &Invited) -> String {
    let addresses = invited.addresses.join(" or ");
    format!(
        "Send this line to whom you invite. They type `{} join` and the line: then their node is known here, and up to {} is \
         kept for it. It holds for one node, until {}, and tells them to come to {addresses}. Until it is used it is a \
         secret.",
        this_node().rsplit('/').next().unwrap_or_default(),
        human::bytes(invited.allow_bytes),
        human::moment(invited.expires_at_ms),
    )
}

fn span(text: &str) -> Result<Duration, String> {
    let span = config::human::parse_duration(text).filter(|span| (SPAN_MIN..=SPAN_MAX).contains(span));
    span.ok_or_else(|| format!("{text:?} is no span of time from \"1 min\" to \"90 days\""))
}

const SPAN_MIN: Duration = Duration::from_secs(60);
const SPAN_MAX: Duration = Duration::from_secs(90 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_of_an_invite_has_bounds() {
        assert_eq!(span("7 days"), Ok(Duration::from_secs(604_800)));
        for wrong in ["7", "91 days", "0 s", "59 s", "always"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn invite_is_explained_to_whoever_sends_it() {
        let invited = Invited {
            line: "invite1qqq".to_owned(),
            addresses: vec!["example.org:4433".to_owned(), "192.0.2.7:4433".to_owned()],
            allow_bytes: 1 << 30,
            expires_at_ms: 86_400_000,
        };
        let remark = remark(&invited);
        for part in
            ["1.00 GiB", "1970-01-02 00:00:00 UTC", "example.org:4433 or 192.0.2.7:4433", " join` and"]
        {
            assert!(remark.contains(part), "{part}: {remark}");
        }
    }
}
