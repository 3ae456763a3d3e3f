//! Clients of a running node: each puts, reads and drops fragments over its socket, one after the other, and together they
//! keep the ledger of what they were told.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use fastrand::Rng;
use proto::{Checksum, FragmentId};
use serde::Deserialize;

use crate::{
    content::{Content, SHARED_CONTENTS, Spot, tessera_id},
    http::{self, Answer},
    ledger::{self, Deed, Ledger},
    node::TestNode,
};

/// Clients at work, until they are told to end.
#[derive(Debug)]
pub struct Load {
    desk: Arc<Desk>,
    clients: Vec<JoinHandle<()>>,
}

/// What the clients were told so far.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Answers, by client.
    pub answers: BTreeMap<u32, u64>,
    /// Puts that were acknowledged.
    pub puts: u64,
    /// Drops of what was there that were acknowledged.
    pub drops: u64,
    /// Reads that were answered with what is there.
    pub reads: u64,
    /// Deeds that were refused, each with the answer.
    pub refused: Vec<(Deed, Answer)>,
    /// Broken promises.
    pub faults: Vec<String>,
}

#[derive(Debug)]
struct Desk {
    socket: PathBuf,
    book: Mutex<Book>,
    /// Somebody was told something.
    told: Condvar,
}

#[derive(Debug, Default)]
struct Book {
    ledger: Ledger,
    next: u64,
    tally: Tally,
    is_over: bool,
}

impl Load {
    /// So many clients of a node that has promised this, from now on.
    pub fn begin(node: &TestNode, ledger: Ledger, clients: u32, seed: u64) -> Self {
        let (book, told) = (Mutex::new(Book { ledger, ..Book::default() }), Condvar::new());
        let desk = Arc::new(Desk { socket: node.socket(), book, told });
        let mut rng = Rng::with_seed(seed);
        assert!(clients * u32::from(INDEXES) <= PLACES, "so many places are listed at once");
        let clients = (0..clients).map(|number| {
            let client = Client { number, desk: desk.clone(), rng: rng.fork() };
            std::thread::spawn(move || client.work())
        });
        Self { clients: clients.collect(), desk }
    }

    /// What they were told so far.
    pub fn tally(&self) -> Tally {
        self.desk.lock().tally.clone()
    }

    /// Waits until they have come so far.
    #[track_caller]
    pub fn until(&self, enough: impl Fn(&Tally) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        let mut book = self.desk.lock();
        while !enough(&book.tally) {
            assert!(book.tally.faults.is_empty(), "{}", book.tally.faults.join("\n"));
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "they do not come so far: {:?}", book.tally);
            book = self.desk.told.wait_timeout(book, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until each of them has got a further answer, and to a request that it made in the meantime.
    #[track_caller]
    pub fn until_all_are_answered(&self) {
        let before = self.tally().answers;
        self.until(|tally| {
            let further = |(number, answers): (&u32, &u64)| *answers >= before.get(number).unwrap_or(&0) + 2;
            tally.answers.len() == self.clients.len() && tally.answers.iter().all(further)
        });
    }

    /// Ends them, and compares what the node holds with what it has promised. That is returned.
    #[track_caller]
    pub fn end(self, node: &TestNode) -> (Ledger, Tally) {
        self.desk.lock().is_over = true;
        self.clients.into_iter().for_each(|client| client.join().expect("it does not panic"));
        let mut book = self.desk.lock();
        let found = everything(node);
        let faults = book.ledger.settle(&found);
        assert_eq!(faults, [""; 0]);
        assert_eq!(book.tally.faults, [""; 0]);
        (book.ledger.clone(), book.tally.clone())
    }
}

/// Everything that the clients may have put and that is there, read and hashed.
fn everything(node: &TestNode) -> BTreeMap<FragmentId, Checksum> {
    let mut found = BTreeMap::new();
    for tessera in TESSERAE.map(tessera_id) {
        let list = node.get(&format!("/v1/tesseras/{tessera}/fragments?limit={PLACES}"));
        // Of one with nothing in it, the node knows nothing.
        let rows = if list.status == 404 { Vec::new() } else { page(&list).fragments };
        for Row { stripe, index } in rows {
            let bytes = node.get(&format!("/v1/tesseras/{tessera}/fragments/{stripe}/{index}"));
            assert_eq!(bytes.status, 200, "{stripe}/{index}: {bytes:?}");
            found.insert(FragmentId { tessera, stripe, index }, Checksum::of(&bytes.body));
        }
    }
    found
}

fn page(answer: &Answer) -> Page {
    let page: Page = serde_json::from_slice(&answer.body).expect("it is a page of fragments");
    assert!(page.next.is_none(), "there are more than there are places");
    page
}

#[derive(Deserialize)]
struct Page {
    fragments: Vec<Row>,
    next: Option<(u32, u16)>,
}

#[derive(Deserialize)]
struct Row {
    stripe: u32,
    index: u16,
}

struct Client {
    number: u32,
    desk: Arc<Desk>,
    rng: Rng,
}

impl Client {
    fn work(mut self) {
        while !self.desk.lock().is_over {
            let stripe = self.number;
            let spot =
                Spot { tessera: self.rng.u32(TESSERAE), stripe, index: self.rng.u16(..INDEXES), account: 0 };
            match self.rng.u8(..10) {
                ..4 => self.put(spot),
                4..7 => self.change(Deed::Drop(spot), "DELETE", spot, b""),
                _ => self.read(spot),
            }
        }
    }

    fn put(&mut self, spot: Spot) {
        let number = if self.rng.bool() { ..SHARED_CONTENTS } else { ..u32::MAX };
        let wish = self.desk.lock().ledger.fragment(spot);
        let content = wish.map_or_else(|| Content(self.rng.u32(number)), |wish| wish.content);
        self.change(Deed::Put(spot, content), "PUT", spot, &content.bytes());
    }

    fn change(&self, deed: Deed, method: &str, spot: Spot, body: &[u8]) {
        let number = self.desk.asked(deed);
        let answer = http::ask(&self.desk.socket, method, &path(spot), body);
        self.desk.told(self.number, |book| {
            let answer = answer.map_err(|error| format!("{deed:?}: {error}"))?;
            let meaning = match (answer.status, method) {
                (201, "PUT") | (204, "DELETE") => ledger::Answer::Done,
                (200, "PUT") | (404, "DELETE") => ledger::Answer::Already,
                _ => {
                    book.tally.refused.push((deed, answer));
                    return Ok(());
                }
            };
            book.tally.puts += u64::from(method == "PUT");
            book.tally.drops += u64::from(answer.status == 204);
            book.ledger.acknowledge(number, meaning)
        });
    }

    /// Nobody else puts or drops anything here meanwhile.
    fn read(&self, spot: Spot) {
        let wish = self.desk.lock().ledger.fragment(spot);
        let answer = http::ask(&self.desk.socket, "GET", &path(spot), b"");
        self.desk.told(self.number, |book| {
            let answer = answer.map_err(|error| format!("read {spot:?}: {error}"))?;
            let is_right = match (answer.status, wish) {
                (200, Some(wish)) => answer.body == wish.content.bytes(),
                (404, wish) => wish.is_none_or(|wish| !wish.sure),
                _ => false,
            };
            book.tally.reads += u64::from(is_right);
            if is_right { Ok(()) } else { Err(format!("read {spot:?}, {wish:?}: {}", answer.head)) }
        });
    }
}

impl Desk {
    fn asked(&self, deed: Deed) -> u64 {
        let mut book = self.lock();
        let number = book.next;
        book.next += 1;
        book.ledger.begin(number, deed);
        number
    }

    fn told(&self, client: u32, note: impl FnOnce(&mut Book) -> Result<(), String>) {
        let mut book = self.lock();
        let fault = note(&mut book).err();
        // Who is told nonsense once would be again and again.
        book.is_over |= fault.is_some();
        book.tally.faults.extend(fault);
        *book.tally.answers.entry(client).or_default() += 1;
        self.told.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn path(Spot { tessera, stripe, index, .. }: Spot) -> String {
    format!("/v1/tesseras/{}/fragments/{stripe}/{index}", tessera_id(tessera))
}

const TESSERAE: std::ops::Range<u32> = 1..4;
const INDEXES: u16 = 8;
/// More than clients have in one tessera.
const PLACES: u32 = 1000;
const DEADLINE: Duration = Duration::from_secs(120);
