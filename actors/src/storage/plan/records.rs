//! What is kept of others. It goes to the index as it comes: only whether an invite may be taken depends on what is there.

use std::{collections::HashSet, sync::Arc};

use super::Planner;
use crate::storage::{notes::Note, ops::Outcome};

impl Planner {
    /// All of the notes are kept, or none: whoever took an invite is a peer, or may take it once more.
    pub(super) fn note(&mut self, notes: &Arc<[Note]>) -> Outcome {
        let mut taken = HashSet::new();
        let batch = self.view.batch;
        let view = &mut self.view;
        let counts = |note: &Note| match note {
            Note::TakeInvite { token, at_ms } => {
                let expires_at_ms = view.invites.get(token);
                taken.insert(*token) && expires_at_ms.is_some_and(|expires_at_ms| *at_ms < expires_at_ms)
            }
            _ => true,
        };
        if !notes.iter().all(counts) {
            return Outcome::NoInvite;
        }
        for note in notes.iter() {
            match note {
                Note::Invite { token, invite, .. } => {
                    view.invites.set(*token, Some(invite.expires_at_ms), batch);
                }
                Note::RemoveInvite { token } | Note::TakeInvite { token, .. } => {
                    view.invites.set(*token, None, batch);
                }
                _ => {}
            }
        }
        view.notes.push(notes.clone());
        Outcome::Done
    }
}
