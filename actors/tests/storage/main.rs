//! The storage actor from outside: what it promises, and what it does when the disk, the power or the bytes fail.

#[cfg(test)]
mod support;

#[cfg(test)]
mod astray;
#[cfg(test)]
mod bad_sectors;
#[cfg(test)]
mod basics;
#[cfg(test)]
mod compaction;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod damages;
#[cfg(test)]
mod deposits;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod expected;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod forged;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod mending;
#[cfg(test)]
mod missed;
#[cfg(test)]
mod model;
#[cfg(test)]
mod races;
#[cfg(test)]
mod rebuilding;
#[cfg(test)]
mod records;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod replication;
#[cfg(test)]
mod scrubbing;
#[cfg(test)]
mod session_races;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod space;
#[cfg(test)]
mod sums;
#[cfg(test)]
mod wal;
