//! Harnesses. [`node`], [`http`] and [`load`] run the real binary and talk to it; the rest is that of the crash tests. A
//! *workload* runs in a process of its own, works on a store with many clients, and
//! writes what it asks for and what it is told into a pipe. Its *parent* keeps the *ledger* of what was promised,
//! ends the workload at random moments, and has the next one compare the store with the ledger.

pub mod chain;
pub mod content;
pub mod http;
pub mod inspect;
pub mod journal;
pub mod ledger;
pub mod load;
pub mod node;
pub mod victim;
pub mod workload;
