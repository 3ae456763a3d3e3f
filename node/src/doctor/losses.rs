//! What starts have lost, as long as nobody has dealt with it.

use std::{io, path::Path};

use actors::storage::{LOSSES_FILE, Loss, losses};

use super::Check;
use crate::human;

/// Looks at what is on record in the data directory; nothing to say when nothing is.
pub(super) fn examine(data_dir: &Path) -> Option<Check> {
    decide(losses(data_dir), data_dir)
}

fn decide(losses: io::Result<Vec<Loss>>, data_dir: &Path) -> Option<Check> {
    let file = human::quoted(data_dir.join(LOSSES_FILE));
    let losses = match losses {
        Ok(losses) => losses,
        Err(error) => {
            return Some(Check::unknown(LOSSES, format!("{file} cannot be read: {error}"), "see `ls -l`"));
        }
    };
    if losses.is_empty() {
        return None;
    }
    let finding = losses.iter().map(told).collect::<Vec<_>>().join("\n");
    let remedy = format!(
        "put the segment files back from a copy, if there is one, and run `rebuild-index`; `jobs` and `verify ID` say \
         what is still hurt. {file} has the names: remove it once that is dealt with"
    );
    // What is missing may have been forgotten.
    let check = if losses.iter().any(Loss::is_certain) { Check::failed } else { Check::warning };
    Some(check(LOSSES, finding, remedy))
}

/// A line for one start.
fn told(loss: &Loss) -> String {
    let at = human::moment(u64::try_from(loss.at_ms).unwrap_or(0));
    let known = loss.snapshot_taken_at_ms.and_then(|ms| u64::try_from(ms).ok()).map(human::moment);
    let segments = human::count(
        loss.segments.len() as u64,
        "segment is gone or was cut",
        "segments are gone or were cut",
    );
    let documents = human::count(loss.documents.len() as u64, "document is", "documents are");
    let tesserae = human::count(loss.missing.count, "tessera", "tesserae");
    let parts = [
        (!loss.segments.is_empty()).then(|| format!("{segments} short")),
        (!loss.documents.is_empty()).then(|| format!("{documents} gone")),
        (loss.missing.count > 0).then(|| {
            let known = known.unwrap_or_default();
            format!("{tesserae} known on {known} and not any more: forgotten since, or lost")
        }),
    ];
    format!("the start of {at}: {}", parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
}

const LOSSES: &str = "losses";

#[cfg(test)]
mod tests {
    use actors::storage::Missing;
    use proto::TesseraId;

    use super::*;
    use crate::doctor::{Outcome, tests::check};

    #[test]
    fn start_that_lost_something_is_told_of_until_that_is_dealt_with() {
        let here = Path::new("/d");
        assert_eq!(decide(Ok(Vec::new()), here), None);
        let loss = Loss {
            at_ms: 1_795_840_267_000,
            segments: vec![4],
            documents: vec![TesseraId::from_bytes([1; 32]); 2],
            missing: Missing::default(),
            snapshot_taken_at_ms: None,
        };
        let found = decide(Ok(vec![loss.clone()]), here).unwrap();
        check(&found, Outcome::Failed, "1 segment is gone or was cut short; 2 documents are gone");
        check(&found, Outcome::Failed, "/d/losses.jsonl has the names");
        let missing = Missing { count: 1, first: vec![TesseraId::from_bytes([2; 32])] };
        let taken = Some(loss.at_ms - 86_400_000);
        let later = Loss {
            segments: Vec::new(),
            documents: Vec::new(),
            missing,
            snapshot_taken_at_ms: taken,
            ..loss
        };
        check(&decide(Ok(vec![later]), here).unwrap(), Outcome::Warning, "1 tessera known on 2026-11-27");
        let denied = Err(io::ErrorKind::PermissionDenied.into());
        check(&decide(denied, here).unwrap(), Outcome::Unknown, "cannot be read");
    }
}
