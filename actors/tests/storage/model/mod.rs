//! Histories made by chance, on storage and on a simple model of it: nothing acknowledged is ever lost or changed,
//! nothing dropped ever comes back, and whatever is counted is true.

mod history;
mod run;
mod state;

use proptest::{prelude::*, test_runner::Config};

use history::history;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn store_does_what_the_model_does(history in history()) {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(run::run(&history));
    }
}

/// `TESSERAS_CASES` sets the number of histories.
fn config() -> Config {
    let cases = std::env::var("TESSERAS_CASES").ok().and_then(|cases| cases.parse().ok());
    Config { cases: cases.unwrap_or(CASES), max_shrink_iters: 400, ..Config::default() }
}

const CASES: u32 = 12;
