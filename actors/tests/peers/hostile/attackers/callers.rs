//! A flood of handshakes: real callers, with ever new keys.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use actors::conn_pool::raw::Raw;
use proto::NodeKey;
use tokio::task::JoinSet;

use super::{Result, Victim};

/// Dials for as long as it is awaited, and counts the handshakes that were ended.
pub(crate) async fn call(victim: Victim, done: Arc<AtomicU64>) -> Result<()> {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let from = SocketAddr::from(([127, 2, caller, 1], 0));
        let raw = Raw::bind(&NodeKey::from_seed([caller; 32]), from, Default::default())?;
        let done = done.clone();
        callers.spawn(async move {
            for number in 0_u64.. {
                let mut seed = [caller; 32];
                seed[..8].copy_from_slice(&number.to_le_bytes());
                let Ok(raw) = raw.with_key(&NodeKey::from_seed(seed)) else { return };
                if raw.dial(victim.node, victim.address).await.is_ok() {
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    pending().await
}

pub(crate) const CALLERS: u8 = 32;
