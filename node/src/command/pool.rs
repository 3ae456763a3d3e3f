//! `pool`: the connections with other nodes.

use super::Context;
use crate::{
    api::Pool,
    exit::Exit,
    failure::Failure,
    human,
    table::{Align, Table},
};

/// Show the connections with other nodes, and who could not be reached
#[derive(Debug, clap::Args)]
pub(crate) struct ShowPool;

impl ShowPool {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let pool: Pool = context.client()?.get("/v1/pool").await?;
        if context.output.json {
            context.output.json(&pool)?;
            return Ok(Exit::Ok);
        }
        context.output.fields(&fields(&pool))?;
        if !pool.connections.is_empty() {
            context.output.line("")?;
            context.output.table(&connections(&pool))?;
        }
        if !pool.waiting.is_empty() || !pool.dialling.is_empty() {
            context.output.line("")?;
            context.output.table(&others(&pool))?;
        }
        Ok(Exit::Ok)
    }
}

fn fields(pool: &Pool) -> [(&'static str, String); 2] {
    let listens = pool.listens_at.as_ref();
    [
        (
            "listens at",
            listens.map_or_else(|| "nowhere: it only dials".to_owned(), |at| format!("{at}, by UDP")),
        ),
        ("connections", format!("{} of at most {}", pool.connections.len(), pool.connections_max)),
    ]
}

fn connections(pool: &Pool) -> Table<7> {
    let mut table = Table::new([
        ("NODE", Align::Left),
        ("ADDRESS", Align::Left),
        ("DIALLED BY", Align::Left),
        ("OPEN FOR", Align::Left),
        ("REQUESTS", Align::Right),
        ("IDLE FOR", Align::Left),
        ("THERE AND BACK", Align::Right),
    ]);
    for one in &pool.connections {
        let idle = match one {
            _ if one.streams > 0 => "in use".to_owned(),
            _ if one.kept => format!("{}, kept", human::span(one.idle_for_ms / 1000)),
            _ => human::span(one.idle_for_ms / 1000),
        };
        table.row([
            one.node.to_string(),
            one.address.clone(),
            if one.inbound { "it" } else { "us" }.to_owned(),
            human::span(one.open_for_ms / 1000),
            one.streams.to_string(),
            idle,
            human::short_span(one.round_trip_us),
        ]);
    }
    table
}

fn others(pool: &Pool) -> Table<3> {
    let mut table =
        Table::new([("NOT CONNECTED", Align::Left), ("AGAIN IN", Align::Left), ("REASON", Align::Left)]);
    for node in &pool.dialling {
        table.row([node.to_string(), "now".to_owned(), "it is being dialled".to_owned()]);
    }
    for one in &pool.waiting {
        table.row([one.node.to_string(), human::wait(one.retry_after_ms), one.reason.clone()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use proto::NodeId;

    use super::*;
    use crate::pooled::{Connection, Waiting};

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn connection(number: u8) -> Connection {
        Connection {
            node: node(number),
            address: "192.0.2.7:4433".to_owned(),
            inbound: false,
            kept: false,
            streams: 0,
            open_for_ms: 3_600_000,
            idle_for_ms: 12_000,
            round_trip_us: 850,
        }
    }

    #[test]
    fn connections_say_who_dialled_and_whether_they_are_used() {
        let pool = Pool {
            listens_at: None,
            connections_max: 64,
            connections: vec![
                connection(1),
                Connection { kept: true, inbound: true, ..connection(2) },
                Connection { kept: true, streams: 3, ..connection(3) },
            ],
            dialling: vec![node(4)],
            waiting: vec![Waiting { node: node(5), reason: "timed out".to_owned(), retry_after_ms: 541 }],
        };
        let ends = |lines: Vec<String>, expected: &[&str]| {
            for (line, expected) in lines.iter().skip(1).zip(expected) {
                let words: Vec<_> =
                    line.split("  ").filter(|word| !word.is_empty()).skip(1).map(str::trim).collect();
                assert_eq!(words.join(" | "), *expected);
            }
            assert_eq!(lines.len(), expected.len() + 1);
        };
        ends(
            connections(&pool).lines().collect(),
            &[
                "192.0.2.7:4433 | us | 60 minutes | 0 | 12 seconds | 850 µs",
                "192.0.2.7:4433 | it | 60 minutes | 0 | 12 seconds, kept | 850 µs",
                "192.0.2.7:4433 | us | 60 minutes | 3 | in use | 850 µs",
            ],
        );
        ends(others(&pool).lines().collect(), &["now | it is being dialled", "1 second | timed out"]);
        assert_eq!(fields(&pool)[0].1, "nowhere: it only dials");
        assert_eq!(fields(&pool)[1].1, "3 of at most 64");
    }
}
