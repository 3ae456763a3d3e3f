//! What is kept of others. All but invites goes to the index as it comes: nothing depends on what is there.

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
                let invite = view.invites.get(token);
                taken.insert(*token) && invite.is_some_and(|invite| *at_ms < invite.expires_at_ms)
            }
            _ => true,
        };
        if !notes.iter().all(counts) {
            return Outcome::NoInvite;
        }
        for note in notes.iter() {
            match note {
                Note::Invite { token, invite } => view.invites.set(*token, Some(*invite), batch),
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
