//! `events`: what happens in the node, as it happens.

use bytes::BytesMut;
use hyper::Method;
use serde_json::Value;

use super::Context;
use crate::{
    api::{Event, Happening},
    exit::Exit,
    failure::Failure,
    human,
    printable::printable,
};

/// Tell what happens in the node, as it happens, until it stops
#[derive(Debug, clap::Args)]
pub(crate) struct Events;

impl Events {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let mut stream = context.client()?.receive(Method::GET, "/v1/events", "text/event-stream").await?;
        let mut received = BytesMut::new();
        loop {
            let bytes = tokio::select! {
                bytes = stream.next() => bytes?,
                // The next event may be long in coming.
                () = context.output.closed() => return Err(Failure::ClosedPipe),
            };
            let Some(bytes) = bytes else { return Ok(Exit::Ok) };
            received.extend_from_slice(&bytes);
            for event in take_events(&mut received) {
                if context.output.json {
                    context.output.json_line(&event)?;
                } else {
                    context.output.line(printable(&line(event)))?;
                }
            }
        }
    }
}

/// Takes the events that have come whole (<https://html.spec.whatwg.org/#event-stream-interpretation>; ours have one
/// line of data each).
fn take_events(received: &mut BytesMut) -> Vec<Value> {
    let mut events = Vec::new();
    while let Some(end) = received.windows(2).position(|bytes| bytes == b"\n\n") {
        let event = received.split_to(end + 2);
        let data =
            event.as_ref().split(|byte: &u8| *byte == b'\n').find_map(|line| line.strip_prefix(b"data: "));
        events.extend(data.and_then(|data| serde_json::from_slice(data).ok()));
    }
    events
}

/// For a person.
fn line(event: Value) -> String {
    match serde_json::from_value(event.clone()) {
        Ok(Event { at_ms, what }) => format!("{}  {}", human::moment(at_ms), sentence(&what)),
        // A later version told of something that this one has no words for.
        Err(_) => event.to_string(),
    }
}

fn sentence(what: &Happening) -> String {
    match what {
        Happening::TesseraCreated { id, content_len, .. } => {
            format!("made {id}, {}", human::bytes(*content_len))
        }
        Happening::TesseraForgotten { id } => format!("forgot {id}"),
        Happening::DamageFound { blobs, repairs_queued, tesseras } => {
            let of = tesseras.iter().map(|id| format!(" {id}")).collect::<Vec<_>>().join(",");
            let of = if of.is_empty() { of } else { format!(" of{of}") };
            format!("found {}{of}; {}", damaged(*blobs), waiting(*repairs_queued))
        }
        Happening::DamageGone { blobs, repairs_queued } => {
            let blobs = human::count(*blobs, "piece that was damaged is", "pieces that were damaged are");
            format!("{blobs} right again, or not wanted any more; {}", waiting(*repairs_queued))
        }
        Happening::ScrubStarted => "all that is stored is verified now".to_owned(),
        Happening::ScrubPaused { secs } => format!("nothing is verified for {}", human::span(*secs)),
        Happening::ScrubFinished { verified_bytes, damaged: found, mended_records } => format!(
            "all that was due is verified; since the daemon was started {} were read, {} found, and {} written again",
            human::bytes(*verified_bytes),
            damaged(*found),
            human::count(*mended_records, "record", "records")
        ),
        Happening::SnapshotTaken { file } => format!("kept aside what only the index knows, in {file}"),
        Happening::IndexRebuilt { records, damaged_places, lost_segments } => format!(
            "the index was made anew from {}; {}, {}",
            human::count(*records, "record", "records"),
            human::count(*damaged_places, "damaged place", "damaged places"),
            human::count(*lost_segments, "segment lost", "segments lost")
        ),
        Happening::ConfigReloaded { changed, after_restart } => reloaded(changed, after_restart),
        Happening::ConfigRefused { reason } => format!("no setting is changed: {reason}"),
        Happening::PeerAdded { node } => format!("{node} is known from now on"),
        Happening::PeerRemoved { node } => format!("{node} is not known any more"),
        Happening::Blocked { what, reason } => format!("blocked {what}: {reason}"),
        Happening::Unblocked { what } => format!("{what} is not blocked any more"),
        Happening::WritingStopped { reason } => format!("nothing can be written: {reason}"),
        Happening::WritingWorks => "writing works again".to_owned(),
        Happening::ActorFell { actor, reason } => format!("{actor} fell: {reason}"),
        Happening::ActorRestarted { actor, restarts } => format!("{actor} runs again, restart {restarts}"),
        Happening::Lagged { lost } => {
            format!("{} missed: they came too fast", human::count(*lost, "event was", "events were"))
        }
        Happening::Stopping { reason } => format!("the node stops: {reason}"),
    }
}

fn damaged(blobs: u64) -> String {
    human::count(blobs, "damaged fragment or document", "damaged fragments or documents")
}

fn waiting(repairs: u64) -> String {
    format!("{} for repair", human::count(repairs, "waits", "wait"))
}

fn reloaded(changed: &[String], after_restart: &[String]) -> String {
    let mut said = match changed {
        [] => "the settings were read again, none has changed".to_owned(),
        changed => format!("the settings were read again, changed: {}", changed.join(", ")),
    };
    if !after_restart.is_empty() {
        said.push_str(&format!("; after a restart: {}", after_restart.join(", ")));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_when_they_have_come_whole() {
        let mut received = BytesMut::from(":\n\nevent: a\ndata: {\"n\":1}\n\ndata: {\"n\":2}\n".as_bytes());
        assert_eq!(take_events(&mut received), [serde_json::json!({ "n": 1 })]);
        received.extend_from_slice(b"\ndata: nonsense\n\n");
        assert_eq!(take_events(&mut received), [serde_json::json!({ "n": 2 })]);
        assert!(received.is_empty());
    }

    #[test]
    fn event_that_a_later_version_tells_is_shown_as_it_is() {
        let event = serde_json::json!({ "at_ms": 0, "event": "moon_landing" });
        assert_eq!(line(event.clone()), event.to_string());
        let event = serde_json::json!({ "at_ms": 1_795_841_103_000_u64, "event": "lagged", "lost": 2 });
        assert_eq!(line(event), "2026-11-28 04:45:03 UTC  2 events were missed: they came too fast");
    }
}
