//! Scratch: a first look at the figures.
use actors::{FragmentStore, System, SystemConfig};
use bytes::Bytes;
use config::StorageConfig;
use proto::{AccountId, Fragment, FragmentId, TesseraId};
use std::{sync::Arc, time::Instant};

fn main() {
    let rt = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    rt.block_on(run());
}
async fn run() {
    let folder = tempfile::tempdir_in("/work").unwrap();
    let mut storage = StorageConfig::with_defaults(folder.path());
    storage.min_free_bytes = 0;
    let system = System::start(SystemConfig::new(storage)).await.unwrap();
    for (clients, size, n, tess) in if std::env::var("ONE").is_ok() {
        vec![(64usize, 4096usize, 80000u32, 1u8)]
    } else if std::env::var("TWO").is_ok() {
        vec![(64usize, 4096usize, 80000u32, 64u8)]
    } else {
        vec![
            (1usize, 4096usize, 2000u32, 1u8),
            (64, 4096, 40000, 1),
            (64, 4096, 40000, 64),
            (64, 65536, 10000, 1),
            (8, 1 << 20, 1000, 1),
        ]
    } {
        let start = Instant::now();
        let counter = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let mut tasks = vec![];
        static NEXT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(1);
        let tessera = NEXT.fetch_add(70, std::sync::atomic::Ordering::Relaxed);
        for c in 0..clients as u32 {
            let counter = counter.clone();
            let st = system.storage.clone();
            tasks.push(tokio::spawn(async move {
                let mut buf = vec![0u8; size];
                for i in 0..n / clients as u32 {
                    let _ = (c, i);
                    let no = counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    buf[..4].copy_from_slice(&no.to_le_bytes());
                    buf[4] = tessera;
                    buf[5] = clients as u8;
                    buf[6] = tess;
                    let f = Fragment::hash(Bytes::copy_from_slice(&buf)).unwrap();
                    let t = tessera.wrapping_add(if tess > 1 { c as u8 } else { 0 });
                    let id = FragmentId { tessera: TesseraId::from_bytes([t; 32]), stripe: no, index: 0 };
                    st.put(AccountId::LOCAL, id, f).await.unwrap();
                }
            }));
        }
        for t in tasks {
            t.await.unwrap();
        }
        let el = start.elapsed();
        {
            let v: Vec<u64> =
                actors::storage::T.iter().map(|x| x.swap(0, std::sync::atomic::Ordering::Relaxed)).collect();
            let b = v[6].max(1);
            println!(
                "  batches {b} avg {:.1}: prepare {} decide {} append {} handover {} sync {} commit {} us",
                n as f64 / b as f64,
                v[0] / b / 1000,
                v[1] / b / 1000,
                v[2] / b / 1000,
                v[3] / b / 1000,
                v[4] / b / 1000,
                v[5] / b / 1000
            );
        }
        println!(
            "put {size} x{clients} tess {tess}: {:.0}/s {:.0} us/put {:.1} MB/s",
            n as f64 / el.as_secs_f64(),
            el.as_micros() as f64 / n as f64,
            n as f64 * size as f64 / el.as_secs_f64() / 1e6
        );
        if std::env::var("ONE").is_err() && tess == 1 && clients == 64 && size == 4096 {
            let start = Instant::now();
            let mut tasks = vec![];
            let total = 400000u32;
            for c in 0..64u32 {
                let st = system.storage.clone();
                tasks.push(tokio::spawn(async move {
                    for i in 0..total / 64 {
                        let no = c * (n / 64) + (i % (n / 64));
                        let t = tessera.wrapping_add(if tess > 1 { c as u8 } else { 0 });
                        let id = FragmentId { tessera: TesseraId::from_bytes([t; 32]), stripe: no, index: 0 };
                        st.get(id).await.unwrap();
                    }
                }));
            }
            for t in tasks {
                t.await.unwrap();
            }
            println!("get 4096 x64: {:.0}/s", total as f64 / start.elapsed().as_secs_f64());
        }
    }
    system.drain().await;
}
