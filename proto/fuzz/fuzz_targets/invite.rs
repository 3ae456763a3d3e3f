//! Invites: a line is refused, or is the one spelling of what it says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::invite::Invite;

fuzz_target!(|line: &str| {
    if let Ok(invite) = Invite::read(line) {
        let squeezed: String = line.split_whitespace().collect();
        // Fields that only later versions know are not written again.
        if let Ok(again) = invite.to_line() {
            assert_eq!(Invite::read(&again).as_ref(), Ok(&invite));
            assert!(again.len() <= squeezed.len());
        }
    }
});
