//! `invite` and `join`: two persons make their nodes known to each other with one line.

use std::{
    io::{self, Read},
    time::Duration,
};

use clap::Subcommand;
use config::HostPort;
use hyper::Method;
use proto::{Checksum, ProtoError, invite::Invite as Line};

use super::{
    Context,
    peers::{show, size, warn_of_room},
};
use crate::{
    api::{Invite as Row, Invited, Join as Joining, NewInvite, Ping},
    args::program_name,
    client::path,
    exit::Exit,
    failure::Failure,
    human, local,
    network::name,
    problem::Kind,
    table::{Align, Table},
};

/// Invite somebody: prints one line for them, with which their node and this one come to know each other
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Invite {
    #[command(subcommand)]
    made: Option<Made>,
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

/// Invites that were made.
#[derive(Debug, Subcommand)]
enum Made {
    /// List the invites that nobody has followed yet
    List,
    /// End an invite: whoever has its line is not let in any more
    Revoke {
        /// Its id or the beginning of that, the name that it gives, or the line itself
        #[arg(value_name = "INVITE")]
        which: String,
    },
}

/// Follow an invite: this node and the one that it is from know each other from then on
#[derive(Debug, clap::Args)]
pub(crate) struct Join {
    /// The line that was sent to you; it may have been broken into several. `-` looks for it in what comes on standard
    /// input, such as a whole letter: what is typed here other users of this machine may see
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
        match &self.made {
            Some(Made::List) => list(context).await,
            Some(Made::Revoke { which }) => revoke(context, which).await,
            None => self.make(context).await,
        }
    }

    async fn make(&self, context: &Context) -> Result<Exit, Failure> {
        let addresses = self.addresses.iter().map(ToString::to_string).collect();
        let new = NewInvite {
            allow_bytes: self.allow,
            name: self.name.clone(),
            valid_for_secs: Some(self.span.as_secs()),
            addresses,
        };
        let client = context.client()?;
        let invited: Invited = client.post(INVITES, &new).await?;
        if context.output.json {
            context.output.json(&invited)?;
        } else {
            context.output.line(&invited.line)?;
            context.output.remark(&remark(&invited));
        }
        if let Some(warning) = warning(&invited.addresses) {
            context.output.warning(&warning);
        }
        warn_of_room(context, &client, self.allow).await;
        Ok(Exit::Ok)
    }
}

impl Join {
    /// Does it. What is no invite, not a whole one, or no longer one is refused before anybody is asked.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let line = match self.line.as_slice() {
            [only] if only == "-" => from_stdin()?,
            parts => parts.concat(),
        };
        let invite = Line::read(&line).map_err(|error| Failure::new(Kind::Usage, error.to_string()))?;
        let joining = Joining { line, allow_bytes: self.allow, name: self.name.clone() };
        let client = context.client()?;
        let ping: Ping = client.post("/v1/join", &joining).await?;
        context.output.remark(&format!("{} and this node know each other from now on.", invite.node));
        warn_of_room(context, &client, self.allow).await;
        show(context, &ping)?;
        Ok(Exit::Ok)
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let invites: Vec<Row> = context.client()?.get(INVITES).await?;
    if context.output.json {
        context.output.json(&invites)?;
    } else if invites.is_empty() {
        context.output.remark("Nobody is invited.");
    } else {
        context.output.table(&table(&invites))?;
    }
    Ok(Exit::Ok)
}

async fn revoke(context: &Context, which: &str) -> Result<Exit, Failure> {
    let client = context.client()?;
    let invites: Vec<Row> = client.get(INVITES).await?;
    let invite = chosen(&invites, which)?;
    client.call::<()>(Method::DELETE, &path(["v1", "invites", &invite.id.to_string()])).await?;
    if context.output.json {
        context.output.json(invite)?;
    } else {
        context.output.remark(&format!("{} is revoked: its line lets nobody in any more.", invite.id));
    }
    Ok(Exit::Ok)
}

fn table(invites: &[Row]) -> Table<4> {
    let mut table = Table::new([
        ("INVITE", Align::Left),
        ("NAME", Align::Left),
        ("ALLOWED", Align::Right),
        ("UNTIL", Align::Left),
    ]);
    for invite in invites {
        table.row([
            invite.id.to_string(),
            invite.name.clone().unwrap_or_default(),
            human::bytes(invite.allow_bytes),
            human::moment(invite.expires_at_ms),
        ]);
    }
    table
}

/// The only one that was meant. A name is one first, as it may look like the beginning of an id.
fn chosen<'a>(invites: &'a [Row], which: &str) -> Result<&'a Row, Failure> {
    // Whoever has the line need not look for more.
    let begin = match Line::read(which) {
        Ok(line) => Checksum::of(&line.token).to_string(),
        Err(_) => which.to_ascii_lowercase(),
    };
    let named = invites.iter().filter(|invite| invite.name.as_deref() == Some(which)).collect::<Vec<_>>();
    let found = match named.as_slice() {
        [] => invites.iter().filter(|invite| invite.id.to_string().starts_with(&begin)).collect(),
        _ => named,
    };
    match found.as_slice() {
        [only] if !begin.is_empty() => Ok(only),
        [] | [_] => {
            Err(Failure::new(Kind::NotFound, format!("no invite begins with {which} or gives that name")))
        }
        several => {
            let several: String = several.iter().map(|invite| format!("\n  {}", invite.id)).collect();
            let detail =
                format!("several invites begin with {which} or give that name: type more of the id{several}");
            Err(Failure::new(Kind::Usage, detail))
        }
    }
}

fn from_stdin() -> Result<String, Failure> {
    // Whatever a letter is written in, an invite is in ASCII.
    let mut letter = Vec::new();
    let read = io::stdin().take(LETTER_BYTES_MAX).read_to_end(&mut letter);
    read.map_err(|error| Failure::new(Kind::Io, format!("the line cannot be read: {error}")))?;
    in_letter(&String::from_utf8_lossy(&letter)).map_err(|wrong| Failure::new(Kind::Usage, wrong))
}

/// The only invite in a letter, in one word, or in several as mails break and quote it.
fn in_letter(letter: &str) -> Result<String, String> {
    let bare = |word| str::trim_matches(word, |letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<&str> = letter.split_whitespace().map(bare).filter(|word| !word.is_empty()).collect();
    let begins = |word: &str| word.get(..BEGIN.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(BEGIN));
    let mut found: Vec<String> = Vec::new();
    for (at, _) in words.iter().enumerate().filter(|(_, word)| begins(word)) {
        let line = whole(words.get(at..).unwrap_or_default());
        if !found.contains(&line) {
            found.push(line);
        }
    }
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] if words.is_empty() => {
            Err("nothing came on standard input: give it the line that `invite` has printed".to_owned())
        }
        [] => Err(format!(
            "no word that came on standard input begins with `{BEGIN}`: give it the line that `invite` has printed"
        )),
        several => Err(format!("{} invites came on standard input: give it one of them", several.len())),
    }
}

/// The invite that begins with the first of these words. One that is not whole is what may belong to it, for whoever says
/// what is wrong with it.
fn whole(words: &[&str]) -> String {
    let mut line = String::new();
    for word in words {
        line.push_str(word);
        if !matches!(Line::read(&line), Err(ProtoError::BadId { .. })) {
            return line;
        }
        if line.len() > LINE_BYTES_MAX {
            break;
        }
    }
    let may_belong = |(at, word): &(usize, &&str)| *at == 0 || word.len() >= PIECE_BYTES_MIN;
    words.iter().enumerate().take_while(may_belong).map(|(_, word)| *word).collect()
}

fn remark(invited: &Invited) -> String {
    let addresses = invited.addresses.join(" or ");
    format!(
        "Send this line to whom you invite. They type `{} join` and the line: then their node is known here, and up to {} is \
         kept for it. It holds for one node, until {}, and tells them to come to {addresses}. Until it is used it is a \
         secret; `invite revoke` ends it.",
        program_name(),
        human::bytes(invited.allow_bytes),
        human::moment(invited.expires_at_ms),
    )
}

/// That only whoever is near can come, if that is so.
fn warning(addresses: &[String]) -> Option<String> {
    let is_near = |address: &String| address.parse().is_ok_and(|address| local::is_local(&address));
    addresses.iter().all(is_near).then(|| {
        format!(
            "nobody outside this machine's own network can come to {}: have its router forward a UDP port to this machine, \
             and name that with --at HOST:PORT or in network.announce",
            addresses.join(" or ")
        )
    })
}

fn span(text: &str) -> Result<Duration, String> {
    let span = config::human::parse_duration(text).filter(|span| (SPAN_MIN..=SPAN_MAX).contains(span));
    span.ok_or_else(|| format!("{text:?} is no span of time from \"1 min\" to \"90 days\""))
}

const INVITES: &str = "/v1/invites";
/// What an invite begins with.
const BEGIN: &str = "invite1";
/// Far more than a letter has around an invite, in bytes.
const LETTER_BYTES_MAX: u64 = 64 << 10;
/// More than an invite has, in bytes.
const LINE_BYTES_MAX: usize = 1 << 10;
/// A line of a mail that is broken within an invite is longer than words are, in bytes.
const PIECE_BYTES_MIN: usize = 20;
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
    fn invite_is_found_by_its_name_its_line_or_the_beginning_of_its_id() {
        let token = |number: u8| [number; 32];
        let row = |number, name: Option<&str>| Row {
            id: Checksum::of(&token(number)),
            name: name.map(str::to_owned),
            allow_bytes: 1 << 30,
            expires_at_ms: 86_400_000,
        };
        // The third has the name that the id of the first begins with.
        let start = Checksum::of(&token(1)).to_string()[..9].to_owned();
        let rows = [row(1, Some("ann")), row(2, Some("ben")), row(3, Some(&start)), row(4, Some("ben"))];
        let find = |which: &str| chosen(&rows, which).map(|row| row.id);
        assert_eq!(find("ann").unwrap(), rows[0].id);
        assert_eq!(find(&start).unwrap(), rows[2].id);
        assert_eq!(find(&rows[1].id.to_string()[..10].to_uppercase()).unwrap(), rows[1].id);
        let line = Line {
            node: proto::NodeId::from_bytes([9; 32]),
            addresses: vec!["example.org:4433".to_owned()],
            token: token(4),
            expires_at_ms: 1,
            allowance_bytes: None,
        };
        assert_eq!(find(&line.to_line().unwrap()).unwrap(), rows[3].id);
        assert!(find("ben").unwrap_err().to_string().starts_with("several invites begin with ben"));
        assert!(find("eve").unwrap_err().to_string().starts_with("no invite begins with eve"));
        assert!(chosen(&rows[..1], "").is_err());
        let lines: Vec<_> = table(&rows).lines().collect();
        assert!(lines[1].ends_with("ann        1.00 GiB  1970-01-02 00:00:00 UTC"), "{}", lines[1]);
    }

    #[test]
    fn invite_is_found_in_a_letter_however_it_is_broken() {
        let invite = |number| Line {
            node: proto::NodeId::from_bytes([9; 32]),
            addresses: vec!["example.org:4433".to_owned()],
            token: [number; 32],
            expires_at_ms: 1,
            allowance_bytes: None,
        };
        let line = invite(1).to_line().unwrap();
        let (begin, end) = line.split_at(70);
        for letter in [
            line.clone(),
            format!("  {begin}\r\n\t{end}\n"),
            format!("Hello Ben,\n\nhere it is: {line}.\nSee you soon\n"),
            format!("> Hello Ben, as invited:\n> <{begin}\n> {end}>\n> see the sea"),
            format!("{line}\nonce more: {line}"),
        ] {
            assert_eq!(in_letter(&letter).as_ref(), Ok(&line), "{letter}");
        }
        let loud = line.to_uppercase();
        assert_eq!(in_letter(&format!("HELLO {loud} BEN")), Ok(loud));
        // What is not whole is left to whoever reads it to say.
        let cut_off = in_letter(&format!("Hello, {begin}\n{}\nAnn", &end[..30])).unwrap();
        assert_eq!(cut_off, line[..100]);
        let refused = |letter: &str, expected: &str| {
            let wrong = in_letter(letter).unwrap_err();
            assert!(wrong.contains(expected) && !wrong.contains("secret"), "{wrong}");
        };
        assert_eq!(in_letter("Hello, invite1qq and so on"), Ok("invite1qq".to_owned()));
        refused(" \n", "nothing came");
        refused("a secret letter without one", "no word");
        refused(&format!("{line} {}", invite(2).to_line().unwrap()), "2 invites");
    }

    #[test]
    fn invite_that_only_neighbours_can_follow_is_told_to_be_one() {
        let warned =
            |addresses: &[&str]| warning(&addresses.iter().map(ToString::to_string).collect::<Vec<_>>());
        let near = warned(&["192.0.2.2:4433", "[fd00::2]:4433"]).unwrap();
        assert!(
            near.contains("192.0.2.2:4433 or [fd00::2]:4433") && near.contains("network.announce"),
            "{near}"
        );
        assert_eq!(warned(&["10.0.0.7:4433", "example.org:4433"]), None);
    }

    #[test]
    fn invite_is_explained_to_whoever_sends_it() {
        let invited = Invited {
            id: Checksum::of(b"token"),
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
