//! A disk under test: real files, of which it knows what a power cut would leave, and whose calls can be made to
//! fail, one kind at a time or all at once.

use std::{
    fs::File,
    io::{self, IoSlice},
    ops::Range,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard},
};

use actors::storage::disk::{Disk, RealDisk, Space};

use super::{chance::Chance, platter::Platter};

/// An operation of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum What {
    Create,
    Open,
    /// Not a call of its own: an open that has the file and has not returned yet. It can be held.
    Opened,
    Write,
    Sync,
    SyncFolder,
    Truncate,
    Remove,
    Rename,
    Read,
    LetGo,
}

/// Which calls fail, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) what: What,
    /// So many calls of this kind still succeed.
    pub(crate) after: u64,
    /// So many calls then fail.
    pub(crate) times: u64,
    /// The system's number of the error.
    pub(crate) errno: i32,
    /// Whether a failing write has written half of its bytes.
    pub(crate) half: bool,
}

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) what: What,
    pub(crate) path: PathBuf,
    pub(crate) ok: bool,
}

#[derive(Debug)]
pub(crate) struct TestDisk {
    inner: Mutex<Inner>,
    released: Condvar,
}

/// While it exists, calls of one kind wait: all of them, or only the next one.
#[derive(Debug)]
pub(crate) struct Hold<'a> {
    disk: &'a TestDisk,
    number: u64,
}

#[derive(Debug)]
struct Held {
    number: u64,
    what: What,
    next_only: bool,
    reached: bool,
}

#[derive(Debug)]
struct Inner {
    platter: Platter,
    chance: Chance,
    /// Calls until the disk goes off; what is under way then may or may not be done.
    calls_left: Option<u64>,
    off: bool,
    faults: Vec<Fault>,
    /// Bytes of files that cannot be read.
    bad: Vec<(PathBuf, Range<u64>)>,
    /// Calls that the faults have made fail.
    struck: u64,
    calls: Vec<Call>,
    paths: std::collections::HashMap<u64, PathBuf>,
    space: Option<Space>,
    held: Vec<Held>,
    holds_made: u64,
    waiting: usize,
}

/// Whether a call is carried out, and what it then returns.
enum Verdict {
    Do,
    DoAndFail(io::Error),
    Fail(io::Error),
}

impl TestDisk {
    pub(crate) fn new(seed: u64) -> Self {
        let inner = Inner {
            platter: Platter::new(seed),
            chance: Chance::new(!seed),
            calls_left: None,
            off: false,
            faults: Vec::new(),
            bad: Vec::new(),
            struck: 0,
            calls: Vec::new(),
            paths: std::collections::HashMap::new(),
            space: None,
            held: Vec::new(),
            holds_made: 0,
            waiting: 0,
        };
        Self { inner: Mutex::new(inner), released: Condvar::new() }
    }

    /// Lets calls of this kind wait until what is returned is dropped.
    pub(crate) fn hold(&self, what: What) -> Hold<'_> {
        self.hold_calls(what, false)
    }

    /// Lets the next call of this kind wait until what is returned is dropped; those behind it overtake it.
    pub(crate) fn hold_next(&self, what: What) -> Hold<'_> {
        self.hold_calls(what, true)
    }

    fn hold_calls(&self, what: What, next_only: bool) -> Hold<'_> {
        let mut inner = self.lock();
        inner.holds_made += 1;
        let number = inner.holds_made;
        inner.held.push(Held { number, what, next_only, reached: false });
        Hold { disk: self, number }
    }

    /// Calls of one kind made since the last [`TestDisk::take_calls`].
    pub(crate) fn count(&self, what: What) -> usize {
        self.lock().calls.iter().filter(|call| call.what == what).count()
    }

    /// Calls that are held.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// From here on, or from so many changing calls on, nothing reaches the disk any more.
    pub(crate) fn go_off(&self, after: Option<u64>) {
        let mut inner = self.lock();
        inner.calls_left = after;
        inner.off = after.is_none();
    }

    /// The power is back.
    pub(crate) fn go_on(&self) {
        let mut inner = self.lock();
        (inner.calls_left, inner.off) = (None, false);
    }

    /// Replaces all files below the folder with what a power cut leaves of them.
    pub(crate) fn power_cut(&self, folder: &Path) {
        let left = self.lock().platter.power_cut();
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for (path, bytes) in left.iter().filter(|(path, _)| path.starts_with(folder)) {
            std::fs::write(path, bytes).unwrap();
        }
    }

    /// Makes calls fail, beside those that fail already.
    pub(crate) fn fail(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// These bytes of a file can no longer be read.
    pub(crate) fn spoil(&self, path: &Path, bytes: Range<u64>) {
        self.lock().bad.push((path.to_owned(), bytes));
    }

    /// Calls that faults and spoiled bytes have made fail since all cleared.
    pub(crate) fn struck(&self) -> u64 {
        self.lock().struck
    }

    /// All faults clear. How many calls they have made fail.
    pub(crate) fn heal(&self) -> u64 {
        let mut inner = self.lock();
        inner.faults.clear();
        inner.bad.clear();
        std::mem::take(&mut inner.struck)
    }

    /// Pretends that the file system has so much space.
    pub(crate) fn pretend_space(&self, space: Option<Space>) {
        self.lock().space = space;
    }

    /// All changing calls since the last time this was asked.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.lock().calls)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Waits while a call of this kind is held.
    fn pass(&self, what: What) -> MutexGuard<'_, Inner> {
        let mut inner = self.lock();
        let Some(number) = inner.held_by(what) else { return inner };
        inner.waiting += 1;
        let is_held = |inner: &mut Inner| inner.held.iter().any(|held| held.number == number);
        inner = self.released.wait_while(inner, is_held).unwrap();
        inner.waiting -= 1;
        inner
    }

    fn change<T>(
        &self,
        what: What,
        path: &Path,
        carry_out: impl FnOnce(&mut Inner) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut inner = self.pass(what);
        let done = match inner.verdict(what) {
            Verdict::Do => carry_out(&mut inner),
            Verdict::DoAndFail(error) => carry_out(&mut inner).and(Err(error)),
            Verdict::Fail(error) => Err(error),
        };
        inner.calls.push(Call { what, path: path.to_owned(), ok: done.is_ok() });
        done
    }
}

impl Hold<'_> {
    /// Whether a call waits for this, or has.
    pub(crate) fn is_reached(&self) -> bool {
        self.disk.lock().held.iter().any(|held| held.number == self.number && held.reached)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.disk.lock().held.retain(|held| held.number != self.number);
        self.disk.released.notify_all();
    }
}

impl Inner {
    /// The hold that a call of this kind runs into.
    fn held_by(&mut self, what: What) -> Option<u64> {
        let holds = |held: &&mut Held| held.what == what && !(held.next_only && held.reached);
        let held = self.held.iter_mut().find(holds)?;
        held.reached = true;
        Some(held.number)
    }

    fn verdict(&mut self, what: What) -> Verdict {
        if self.off {
            return Verdict::Fail(off());
        }
        if let Some(left) = self.calls_left.as_mut() {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => {
                    self.off = true;
                    return if self.chance.one_in(2) {
                        Verdict::DoAndFail(off())
                    } else {
                        Verdict::Fail(off())
                    };
                }
            }
        }
        match self.strike(what) {
            Some(error) => Verdict::Fail(error),
            None => Verdict::Do,
        }
    }

    fn strike(&mut self, what: What) -> Option<io::Error> {
        let active = |fault: &&mut Fault| fault.what == what && fault.times > 0;
        let fault = self.faults.iter_mut().find(active)?;
        if let Some(fewer) = fault.after.checked_sub(1) {
            fault.after = fewer;
            return None;
        }
        fault.times -= 1;
        self.struck += 1;
        Some(io::Error::from_raw_os_error(fault.errno))
    }

    fn path(&self, file: &File) -> PathBuf {
        self.paths.get(&inode(file)).cloned().unwrap_or_default()
    }
}

impl Disk for TestDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.change(What::Create, path, |inner| {
            let file = RealDisk.create(path)?;
            inner.platter.created(path, inode(&file));
            inner.paths.insert(inode(&file), path.to_owned());
            Ok(file)
        })
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let mut inner = self.pass(What::Open);
        if inner.off {
            return Err(off());
        }
        if let Some(error) = inner.strike(What::Open) {
            return Err(error);
        }
        let file = RealDisk.open(path)?;
        inner.platter.opened(path, inode(&file));
        inner.paths.insert(inode(&file), path.to_owned());
        drop(inner);
        drop(self.pass(What::Opened));
        Ok(file)
    }

    fn write(&self, file: &File, parts: &mut [IoSlice<'_>], position: u64) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let path = self.lock().path(file);
        let written = self.change(What::Write, &path, |inner| inner.write(file, &bytes, position));
        let mut inner = self.lock();
        if written.is_err() && inner.faults.iter().any(|fault| fault.half) {
            inner.write(file, &bytes[..bytes.len() / 2], position)?;
        }
        written
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let path = self.lock().path(file);
        let synced = self.change(What::Sync, &path, |inner| {
            inner.platter.synced(inode(file));
            Ok(())
        });
        let mut inner = self.lock();
        // A process that ends has not been told that its sync failed: the system still brings all of it to the disk.
        if synced.is_err() && !inner.off {
            inner.platter.sync_failed(inode(file));
        }
        synced
    }

    fn let_go(&self, file: &File, position: u64, length: u64) {
        let mut inner = self.lock();
        let path = inner.path(file);
        inner.calls.push(Call { what: What::LetGo, path, ok: true });
        RealDisk.let_go(file, position, length);
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.change(What::SyncFolder, folder, |inner| {
            inner.platter.folder_synced(folder);
            Ok(())
        })
    }

    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        let path = self.lock().path(file);
        self.change(What::Truncate, &path, |inner| {
            RealDisk.truncate(file, length)?;
            inner.platter.truncated(inode(file), length);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(What::Remove, path, |inner| {
            RealDisk.remove(path)?;
            inner.platter.removed(path);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(What::Rename, from, |_| RealDisk.rename(from, to))
    }

    fn read(&self, file: &File, buffer: &mut [u8], position: u64) -> io::Result<()> {
        self.readable()?;
        if self.is_bad(file, buffer, position) {
            return Err(off());
        }
        RealDisk.read(file, buffer, position)
    }

    fn read_cached(&self, file: &File, buffer: &mut [u8], position: u64) -> io::Result<bool> {
        // Whoever reads like this must not be made to wait; the other way of reading may be.
        if self.lock().held.iter().any(|held| held.what == What::Read) {
            return Ok(false);
        }
        self.readable()?;
        if self.is_bad(file, buffer, position) {
            return Ok(false);
        }
        // Everything is, also on file systems that cannot tell.
        Ok(RealDisk.read(file, buffer, position).is_ok())
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        self.lock().space.map_or_else(|| RealDisk.space(folder), Ok)
    }
}

impl TestDisk {
    fn readable(&self) -> io::Result<()> {
        let mut inner = self.pass(What::Read);
        if inner.off {
            return Err(off());
        }
        inner.strike(What::Read).map_or(Ok(()), Err)
    }

    fn is_bad(&self, file: &File, buffer: &[u8], position: u64) -> bool {
        let mut inner = self.lock();
        let (path, end) = (inner.path(file), position + buffer.len() as u64);
        let touches = |bytes: &Range<u64>| bytes.start < end && position < bytes.end;
        let is_bad = inner.bad.iter().any(|(bad, bytes)| *bad == path && touches(bytes));
        inner.struck += u64::from(is_bad);
        is_bad
    }
}

impl Inner {
    fn write(&mut self, file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
        RealDisk.write(file, &mut [IoSlice::new(bytes)], position)?;
        self.platter.wrote(inode(file), position, bytes.to_vec());
        Ok(())
    }
}

fn inode(file: &File) -> u64 {
    file.metadata().unwrap().ino()
}

fn off() -> io::Error {
    io::Error::from_raw_os_error(EIO)
}

/// Input or output error.
pub(crate) const EIO: i32 = 5;
/// Too many open files: no word about what is on the disk.
pub(crate) const EMFILE: i32 = 24;
/// No space left on the device.
pub(crate) const ENOSPC: i32 = 28;
/// A fault that does not clear by itself.
pub(crate) const FOREVER: u64 = u64::MAX;
