//! Bare quinn: our TLS and nothing else. A request names a length, and so many bytes come back.

use std::{
    net::SocketAddr,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use actors::conn_pool::raw::Raw;
use bytes::Bytes;
use futures::future::BoxFuture;
use proto::{NodeId, NodeKey};
use quinn::{Connection, TransportConfig, VarInt};
use tokio::{
    runtime::{Builder, Handle},
    task::JoinSet,
};

use crate::{
    Result,
    rounds::{Contender, Work},
};

/// Two bare endpoints, and a connection between them.
pub(crate) struct Bare {
    client: Raw,
    thread: Handle,
    server: (NodeId, SocketAddr),
    connection: Connection,
}

impl Bare {
    pub(crate) async fn start() -> Result<Self> {
        let (server, serving) = endpoint(11)?;
        let at = (server.node(), server.address()?);
        serving.spawn(serve(server));
        let (client, thread) = endpoint(12)?;
        let connection = dial(&client, &thread, at).await?;
        Ok(Self { client, thread, server: at, connection })
    }

    /// Dials and asks for this many bytes, as one that has no pool.
    pub(crate) async fn fresh(&self, length: u32) -> Result<()> {
        let connection = dial(&self.client, &self.thread, self.server).await?;
        ask(&connection, length).await?;
        connection.close(VarInt::from_u32(0), b"");
        Ok(())
    }

    /// One that asks for so many bytes, so often at a time.
    pub(crate) fn asks(&self, name: &'static str, length: u32, clients: usize) -> Asks {
        Asks { name, connection: self.connection.clone(), length, clients }
    }
}

/// An endpoint on a thread of its own.
fn endpoint(seed: u8) -> Result<(Raw, Handle)> {
    let (told, tell) = mpsc::channel();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        runtime.block_on(async move {
            let mut transport = TransportConfig::default();
            transport.max_concurrent_bidi_streams(VarInt::from_u32(1024));
            // Others take their turns meanwhile.
            transport.keep_alive_interval(Some(Duration::from_secs(5)));
            let raw = Raw::bind(&NodeKey::from_seed([seed; 32]), ([127, 0, 0, 1], 0).into(), transport);
            // Whoever started it waits for it.
            let _ = told.send((raw, handle));
            std::future::pending::<()>().await;
        });
        Ok::<(), std::io::Error>(())
    });
    let (raw, handle) = tell.recv()?;
    Ok((raw?, handle))
}

async fn dial(client: &Raw, thread: &Handle, (node, address): (NodeId, SocketAddr)) -> Result<Connection> {
    let client = client.clone();
    Ok(thread.spawn(async move { client.dial(node, address).await }).await??)
}

async fn serve(raw: Raw) {
    while let Some((_, connection)) = raw.accept().await {
        tokio::spawn(async move {
            while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                tokio::spawn(async move {
                    let mut length = [0; 4];
                    if receive.read_exact(&mut length).await.is_ok() {
                        let bytes = Bytes::from_static(&ZEROS).slice(..u32::from_le_bytes(length) as usize);
                        if send.write_chunk(bytes).await.is_ok() {
                            // A stream that was given up has ended as well.
                            let _ = send.finish();
                        }
                    }
                });
            }
        });
    }
}

async fn ask(connection: &Connection, length: u32) -> Result<()> {
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(&length.to_le_bytes()).await?;
    send.finish()?;
    let mut left = length as usize;
    while let Some(chunk) = receive.read_chunk(left.max(1), true).await? {
        left -= chunk.bytes.len();
    }
    if left > 0 { Err("bare quinn lost some bytes".into()) } else { Ok(()) }
}

/// Connections between one endpoint and many.
pub(crate) struct Fan(Vec<Connection>);

impl Fan {
    /// So many that ask one.
    pub(crate) async fn to_many(many: usize) -> Result<Self> {
        let (server, serving) = endpoint(20)?;
        let at = (server.node(), server.address()?);
        serving.spawn(serve(server));
        let mut connections = Vec::new();
        for number in 0..many {
            let (client, thread) = endpoint(30 + u8::try_from(number)?)?;
            connections.push(dial(&client, &thread, at).await?);
        }
        Ok(Self(connections))
    }

    /// One that asks so many.
    pub(crate) async fn from_many(many: usize) -> Result<Self> {
        let (client, thread) = endpoint(20)?;
        let mut connections = Vec::new();
        for number in 0..many {
            let (server, serving) = endpoint(30 + u8::try_from(number)?)?;
            let at = (server.node(), server.address()?);
            serving.spawn(serve(server));
            connections.push(dial(&client, &thread, at).await?);
        }
        Ok(Self(connections))
    }

    /// Has so many pieces of so many bytes come over each of them, one after the other on each.
    pub(crate) async fn carry(&self, pieces: usize, length: u32) -> Result<()> {
        let mut all = JoinSet::new();
        for connection in &self.0 {
            let connection = connection.clone();
            all.spawn(async move {
                for _ in 0..pieces {
                    ask(&connection, length).await?;
                }
                Result::Ok(())
            });
        }
        while let Some(ended) = all.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// A contender that asks.
pub(crate) struct Asks {
    name: &'static str,
    connection: Connection,
    length: u32,
    clients: usize,
}

impl Contender for Asks {
    fn name(&self) -> &'static str {
        self.name
    }

    fn round(&mut self, length: Duration) -> BoxFuture<'_, Result<Work>> {
        let end = Instant::now() + length;
        Box::pin(async move {
            let mut clients = JoinSet::new();
            for _ in 0..self.clients {
                clients.spawn(ask_until(self.connection.clone(), self.length, end));
            }
            Work::of_all(clients).await
        })
    }
}

async fn ask_until(connection: Connection, length: u32, end: Instant) -> Result<Work> {
    let mut work = Work::default();
    while Instant::now() < end {
        let asked = Instant::now();
        ask(&connection, length).await?;
        work.note(asked.elapsed())?;
    }
    Ok(work)
}

static ZEROS: [u8; 1 << 20] = [0; 1 << 20];
