//! `ledger`: what is kept here for whom, and what they keep.

use super::Context;
use crate::{
    api::Ledger,
    client::Client,
    exit::Exit,
    failure::Failure,
    human,
    ledger::{Account, Balance, Machine},
    table::{Align, Table},
};

/// See what is kept here for whom, and what their nodes keep of yours
///
/// One line for each author: the bytes of its fragments HERE, and those of yours THERE, by the receipts that its nodes have
/// signed. The DIFFERENCE is above 0 when more is kept here. What COUNTS against an allowance is more than the fragments:
/// their documents, too, and 512 bytes for each. The first line is this node's own, the last all the others together.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowLedger;

impl ShowLedger {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let ledger = whole(&context.client()?).await?;
        if context.output.json {
            context.output.json(&ledger)?;
            return Ok(Exit::Ok);
        }
        context.output.table(&table(&ledger))?;
        if let Some(remark) = remark(&ledger) {
            context.output.remark(&remark);
        }
        Ok(Exit::Ok)
    }
}

/// All pages in one.
async fn whole(client: &Client) -> Result<Ledger, Failure> {
    let mut ledger: Ledger = client.get(LEDGER).await?;
    while let Some(next) = ledger.next {
        let page: Ledger = client.get(&format!("{LEDGER}?from={next}")).await?;
        let accounts = ledger.accounts.into_iter().chain(page.accounts).collect();
        ledger = Ledger { accounts, ..page };
    }
    Ok(ledger)
}

fn table(ledger: &Ledger) -> Table<8> {
    let mut table = Table::new([
        ("AUTHOR", Align::Left),
        ("NODES", Align::Left),
        ("HERE", Align::Right),
        ("THERE", Align::Right),
        ("DIFFERENCE", Align::Right),
        ("COUNTS", Align::Right),
        ("OF", Align::Right),
        ("LEFT", Align::Right),
    ]);
    let own = &ledger.own;
    let this = std::iter::once("this node".to_owned());
    let here = own.here.bytes.saturating_add(own.brought.bytes);
    let [author, nodes] = [own.author.to_string(), named(this.chain(own.peers.iter().map(name)))];
    table.row([author, nodes, human::bytes(here), human::bytes(own.elsewhere.bytes), NONE, NONE, NONE, NONE]);
    for account in &ledger.accounts {
        let [here, there, difference, counts] = balance(&account.balance);
        let (of, left) = (human::bytes(account.allow_bytes), human::bytes(account.left_bytes));
        table.row([account.author.to_string(), who(account), here, there, difference, counts, of, left]);
    }
    let [here, there, difference, counts] = balance(&ledger.totals);
    let all = human::count(ledger.accounts.len() as u64, "other", "others");
    table.row([all, NONE, here, there, difference, counts, NONE, NONE]);
    table
}

/// Here, there, the difference, and what counts.
fn balance(balance: &Balance) -> [String; 4] {
    let Balance { here, ours, difference_bytes } = balance;
    let size = human::bytes(difference_bytes.unsigned_abs());
    let difference = match difference_bytes {
        ..0 => format!("-{size}"),
        0 => size,
        1.. => format!("+{size}"),
    };
    [human::bytes(here.bytes), human::bytes(ours.bytes), difference, human::bytes(here.counted_bytes)]
}

/// Which nodes act for it.
fn who(account: &Account) -> String {
    match (account.stranger, account.peers.is_empty()) {
        (false, _) => named(account.peers.iter().map(name)),
        (true, true) => "no peer".to_owned(),
        (true, false) => format!("{} (no peer)", named(account.peers.iter().map(name))),
    }
}

/// The first few, and how many there are besides.
fn named(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    names.truncate(NAMED_MAX);
    let names = names.join(", ");
    if more == 0 { names } else { format!("{names} and {more} more") }
}

/// What it is called, or the beginning of its id.
fn name(machine: &Machine) -> String {
    let id = || format!("{}…", machine.node.to_string().chars().take(ID_LETTERS).collect::<String>());
    machine.name.clone().unwrap_or_else(id)
}

/// What stands in no line.
fn remark(ledger: &Ledger) -> Option<String> {
    let unknown = ledger.own.unknown;
    if unknown.fragments > 0 {
        return Some(format!(
            "Of what is yours, {} are with nodes that have not shown whom they act for, or are no longer known.",
            human::bytes(unknown.bytes)
        ));
    }
    let is_alone = ledger.accounts.is_empty();
    is_alone
        .then(|| "Nothing is kept here for others, and no peer has shown yet whom it acts for.".to_owned())
}

const LEDGER: &str = "/v1/ledger";
const NONE: String = String::new();
/// Nodes that a line names.
const NAMED_MAX: usize = 3;
/// Enough of a node's id to type.
const ID_LETTERS: usize = 12;

#[cfg(test)]
mod tests {
    use actors::storage::{AccountTotals, Ledger as Rows, Signed};
    use proto::{AuthorId, NodeId};

    use super::*;
    use crate::ledger::{Granted, tests::account};

    fn machine(number: u8, name: Option<&str>) -> Machine {
        Machine { node: NodeId::from_bytes([number; 32]), name: name.map(str::to_owned) }
    }

    fn ledger(accounts: Vec<Account>, unknown: u64) -> Ledger {
        let rows = Rows {
            own: AccountTotals { fragments: 1, bytes: 2048, document_bytes: 10 },
            brought: AccountTotals { fragments: 1, bytes: 1024, document_bytes: 10 },
            elsewhere: Signed { fragments: 9, bytes: 5120 },
            own_machines: Signed { fragments: 1, bytes: 512 },
            unknown: Signed { fragments: unknown, bytes: unknown },
            others: AccountTotals { fragments: 4, bytes: 6144, document_bytes: 200 },
            accounts: Vec::new(),
        };
        Ledger {
            accounts,
            ..Ledger::new(AuthorId::from_bytes([9; 32]), vec![machine(1, Some("attic"))], &rows)
        }
    }

    #[test]
    fn ledger_has_a_line_for_each_account_between_its_own_and_all() {
        let granted = |bytes, is_strange| Granted { bytes, is_strange, holds: true };
        let mut of_ben = account(1, 4096, 1024, granted(1 << 20, false));
        of_ben.peers = ["ben", "b2", "b3", "b4"].map(|name| machine(2, Some(name))).to_vec();
        let of_none = account(2, 2048, 2048, granted(0, true));
        let mut of_one = account(3, 0, 10, granted(4096, true));
        of_one.peers.push(machine(3, None));
        let shown = ledger(vec![of_ben, of_none, of_one], 0);
        let lines: Vec<String> = table(&shown).lines().collect();
        // Without the ids, which are long, and with one space between columns.
        let cells: Vec<Vec<&str>> = lines
            .iter()
            .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
            .collect();
        assert_eq!(cells[0], ["AUTHOR", "NODES", "HERE", "THERE", "DIFFERENCE", "COUNTS", "OF", "LEFT"]);
        assert_eq!(cells[1][1..], ["this node, attic", "3.00 KiB", "5.00 KiB"]);
        let of_ben = [
            "ben, b2, b3 and 1 more",
            "4.00 KiB",
            "1.00 KiB",
            "+3.00 KiB",
            "5.10 KiB",
            "1.00 MiB",
            "1018.90 KiB",
        ];
        assert_eq!(cells[2][1..], of_ben);
        assert_eq!(cells[3][1..], ["no peer", "2.00 KiB", "2.00 KiB", "0 B", "3.10 KiB", "0 B", "0 B"]);
        let node = NodeId::from_bytes([3; 32]).to_string();
        assert_eq!(cells[4][1], format!("{}… (no peer)", &node[..12]));
        assert_eq!(cells[4][2..5], ["0 B", "10 B", "-10 B"]);
        assert_eq!(cells[5], ["3 others", "6.00 KiB", "4.50 KiB", "+1.50 KiB", "8.20 KiB"]);
        assert_eq!(remark(&shown), None);
    }

    #[test]
    fn ledger_says_what_stands_in_none_of_its_lines() {
        let remark = |unknown| remark(&ledger(Vec::new(), unknown)).unwrap();
        assert!(remark(0).contains("Nothing is kept here for others"), "{}", remark(0));
        assert!(remark(100).contains("Of what is yours, 100 B are with nodes"), "{}", remark(100));
    }
}
