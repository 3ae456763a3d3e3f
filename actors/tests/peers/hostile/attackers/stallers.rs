//! A thousand peers that take a connection and then do nothing useful with it: those who talk a byte a second, those who
//! ask for much and take nothing, those who open streams and give them up.

use std::{future::pending, net::SocketAddr, time::Duration};

use actors::conn_pool::raw::Raw;
use proto::NodeKey;
use quinn::{Connection, TransportConfig, VarInt};
use tokio::{task::JoinSet, time::sleep};

use super::{Result, Victim};

/// Stalls for as long as it is awaited. The request is for something large that the node has.
pub(crate) async fn stall(victim: Victim, request: Vec<u8>) -> Result<()> {
    let mut peers = JoinSet::new();
    for number in 0..STALLED {
        let (network, host) = (u8::try_from(number % NETWORKS)?, u8::try_from(number / NETWORKS + 1)?);
        let from = SocketAddr::from(([127, 1, network, host], 0));
        let mut seed = [1; 32];
        seed[..2].copy_from_slice(&number.to_le_bytes());
        let raw = Raw::bind(&NodeKey::from_seed(seed), from, transport())?;
        let request = request.clone();
        peers.spawn(async move {
            // Whoever is turned away comes back.
            loop {
                if let Ok(connection) = raw.dial(victim.node, victim.address).await {
                    hold(&connection, number, &request).await;
                }
                sleep(COMES_BACK).await;
            }
        });
    }
    pending().await
}

/// It takes in nothing that it does not read, which is nothing.
fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(64));
    transport
}

/// Until it is thrown out.
async fn hold(connection: &Connection, number: u16, request: &[u8]) {
    while connection.close_reason().is_none() {
        match number % 3 {
            0 => drip(connection, request).await,
            1 => ask_and_take_nothing(connection, request).await,
            _ => {
                if let Ok((mut send, _)) = connection.open_bi().await {
                    let _ = send.write_all(request.get(..BEGUN_BYTES).unwrap_or_default()).await;
                    let _ = send.reset(VarInt::from_u32(0));
                }
                sleep(RESET_EVERY).await;
            }
        }
    }
}

async fn drip(connection: &Connection, request: &[u8]) {
    let Ok((mut send, _receive)) = connection.open_bi().await else { return };
    for byte in request {
        if send.write_all(&[*byte]).await.is_err() {
            return;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

async fn ask_and_take_nothing(connection: &Connection, request: &[u8]) {
    let mut asked = Vec::new();
    for _ in 0..16 {
        let Ok((mut send, receive)) = connection.open_bi().await else { return };
        let _ = send.write_all(request).await;
        let _ = send.finish();
        asked.push((send, receive));
    }
    // Long enough that the node gives them up.
    sleep(Duration::from_secs(5)).await;
}

const STALLED: u16 = 1000;
const NETWORKS: u16 = 50;
const COMES_BACK: Duration = Duration::from_secs(2);
const RESET_EVERY: Duration = Duration::from_millis(100);
/// Of a request that is given up: more than what stands in front of its frame.
const BEGUN_BYTES: usize = 9;
