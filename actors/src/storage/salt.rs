//! The salt of the store's records: random, made once, known to no peer.
//!
//! A payload may hold whole records that somebody else made. Who looks for the next record behind damage takes only
//! those with the store's salt for its own ([`super::scan`]).
//!
//! It is in the first header of each segment, where no payload can be, so the segments alone say it. It is also kept
//! in a small file beside them, not in the index: a rebuild has no index, and a store of one segment whose first header
//! is damaged has no other place to learn it from.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind, IoSlice},
    path::Path,
};

use proto::{
    Checksum,
    limits::RECORD_HEADER_BYTES,
    record::{Header, Salt},
};

use super::{
    disk::{self, Disk},
    segment,
};
use crate::error::ActorError;

/// The salt of the records in these segments; a new one if there is none yet. May block. Errors when it cannot be
/// learned because the disk gives neither the file nor the first bytes of any segment: with another salt, all that is
/// in them would be given up.
pub(crate) fn settle(disk: &dyn Disk, data_dir: &Path, ids: &[u32]) -> Result<Salt, ActorError> {
    let mut look = Look { disk, data_dir, failure: None };
    let kept = look.kept();
    // All of them are asked only when the file is missing or contradicts the newest segment.
    let newest = ids.iter().rev().find_map(|id| valid(&look.head(*id)?));
    if let Some(kept) = kept.filter(|kept| newest.is_none_or(|newest| newest == *kept)) {
        return Ok(kept);
    }
    let heads: Vec<Head> = ids.iter().filter_map(|id| look.head(*id)).collect();
    let voted = vote(heads.iter().filter_map(valid)).or_else(|| vote(heads.iter().map(Salt::of_header)));
    let salt = match (voted, look.failure) {
        (Some(salt), _) => salt,
        (None, Some(failure)) => return Err(failure),
        (None, None) => random()?,
    };
    if let Err(error) = keep(disk, data_dir, salt) {
        // The first record of each segment holds it, too.
        tracing::warn!(%error, file = SALT_FILE, "the salt of the log could not be written");
    }
    Ok(salt)
}

/// The first bytes of a segment.
type Head = [u8; RECORD_HEADER_BYTES];

fn valid(head: &Head) -> Option<Salt> {
    Header::decode(head).ok().map(|header| header.salt)
}

/// The salt that most have.
fn vote(salts: impl Iterator<Item = Salt>) -> Option<Salt> {
    let mut votes = BTreeMap::<Salt, usize>::new();
    // Nobody chose zeros; they are what a lost sector may read as.
    salts.filter(|salt| *salt != ZEROS).for_each(|salt| *votes.entry(salt).or_default() += 1);
    votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(salt, _)| salt)
}

/// Where the salt may be found.
struct Look<'a> {
    disk: &'a dyn Disk,
    data_dir: &'a Path,
    /// The first read that failed. It does not matter if another place says the salt.
    failure: Option<ActorError>,
}

impl Look<'_> {
    /// What the file says, if it is whole.
    fn kept(&mut self) -> Option<Salt> {
        let bytes = self.read::<FILE_BYTES>(&self.data_dir.join(SALT_FILE))?;
        let salt = Salt(*bytes.first_chunk()?);
        (bytes == encoded(salt)).then_some(salt)
    }

    /// The first bytes of a segment that has any.
    fn head(&mut self, id: u32) -> Option<Head> {
        self.read(&segment::path(&self.data_dir.join(segment::SEGMENTS_FOLDER), id))
    }

    fn read<const N: usize>(&mut self, path: &Path) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let read = self.disk.open(path).and_then(|file| self.disk.read(&file, &mut bytes, 0));
        match read {
            Ok(()) => return Some(bytes),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => {}
            Err(error) => {
                let context = format!("cannot read {}", path.display());
                self.failure.get_or_insert_with(|| ActorError::io(context)(error));
            }
        }
        None
    }
}

fn keep(disk: &dyn Disk, data_dir: &Path, salt: Salt) -> io::Result<()> {
    let path = data_dir.join(SALT_FILE);
    disk::remove_if_there(disk, &path)?;
    let file = disk.create(&path)?;
    disk.write(&file, &mut [IoSlice::new(&encoded(salt))], 0)?;
    disk.sync(&file)?;
    disk.sync_folder(data_dir)
}

/// The salt and its hash.
fn encoded(salt: Salt) -> [u8; FILE_BYTES] {
    let mut bytes = [0; FILE_BYTES];
    let hash = Checksum::of(&salt.0);
    let parts = salt.0.iter().chain(hash.as_bytes());
    bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
    bytes
}

fn random() -> Result<Salt, ActorError> {
    let mut salt = ZEROS;
    getrandom::fill(&mut salt.0).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(salt)
}

/// In the data directory.
/// In the data directory.
pub const SALT_FILE: &str = "segments.salt";
const FILE_BYTES: usize = Salt::BYTES + 32;
const ZEROS: Salt = Salt([0; Salt::BYTES]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::RealDisk;

    const OURS: Salt = Salt([1, 2, 3, 4, 5, 6]);
    const OTHER: Salt = Salt([6, 5, 4, 3, 2, 1]);

    /// A data directory whose segments begin with these bytes.
    fn store(heads: &[&[u8]]) -> (tempfile::TempDir, Vec<u32>) {
        let folder = tempfile::tempdir().unwrap();
        let segments = folder.path().join(segment::SEGMENTS_FOLDER);
        std::fs::create_dir(&segments).unwrap();
        let ids: Vec<u32> = (1..).take(heads.len()).collect();
        for (id, head) in ids.iter().zip(heads) {
            std::fs::write(segment::path(&segments, *id), head).unwrap();
        }
        (folder, ids)
    }

    fn header(salt: Salt) -> Head {
        let kind = proto::record::Kind::Blob;
        Header::new(kind, salt, 1, 0, Checksum::of(b"")).unwrap().encode()
    }

    /// With this salt kept in the file, that one counts; and it is kept from then on.
    fn check(kept: Option<Salt>, heads: &[&[u8]], expected: Salt) {
        let (folder, ids) = store(heads);
        if let Some(kept) = kept {
            keep(&RealDisk, folder.path(), kept).unwrap();
        }
        for _ in 0..2 {
            assert_eq!(settle(&RealDisk, folder.path(), &ids).unwrap(), expected, "{kept:?} {heads:?}");
            for id in &ids {
                std::fs::write(segment::path(&folder.path().join("segments"), *id), b"").unwrap();
            }
        }
    }

    #[test]
    fn salt_is_what_most_segments_begin_with_else_what_the_file_says() {
        let (ours, other) = (&header(OURS)[..], &header(OTHER)[..]);
        let mut damaged = header(OURS);
        damaged[20] ^= 1;
        let damaged = &damaged[..];
        check(Some(OURS), &[], OURS);
        check(Some(OURS), &[&[], &[0; 64], &[7; 64], b"short"], OURS);
        check(Some(OURS), &[other, other, ours], OURS);
        check(Some(OURS), &[other, ours, other], OTHER);
        check(Some(OTHER), &[ours], OURS);
        check(None, &[ours, other, ours, &[]], OURS);
        check(None, &[other, damaged, damaged], OTHER);
        check(None, &[damaged, &[0; 64], &[0; 64], b"short"], OURS);
    }

    #[test]
    fn new_store_has_a_salt_of_its_own_and_keeps_it() {
        let (one, two) = (store(&[]).0, store(&[]).0);
        let salt = |folder: &tempfile::TempDir| settle(&RealDisk, folder.path(), &[]).unwrap();
        assert_ne!(salt(&one), salt(&two));
        assert_eq!(salt(&one), salt(&one));
        std::fs::write(one.path().join(SALT_FILE), b"torn").unwrap();
        let again = salt(&one);
        assert_eq!(salt(&one), again);
    }
}
