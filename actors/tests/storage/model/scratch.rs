//! scratch
use super::super::support::{index::Wal as W, node::End as E};
use super::{
    history::{History, Step},
    run,
    state::Op,
};
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scratch() {
    let h = History {
        seed: 0,
        synchronous_full: false,
        autocheckpoint_pages: 4,
        steps: vec![
            Step::Compact(vec![
                Op::Put { account: 1, key: (11, 1), content: 5 },
                Op::Drop { account: 1, key: (12, 1) },
                Op::Drop { account: 1, key: (2, 2) },
                Op::Put { account: 1, key: (11, 0), content: 0 },
                Op::Drop { account: 0, key: (11, 2) },
                Op::Drop { account: 1, key: (1, 0) },
                Op::Put { account: 0, key: (2, 1), content: 3 },
            ]),
            Step::End {
                end: E::Killed,
                after: 32,
                ops: vec![
                    Op::Put { account: 1, key: (12, 0), content: 2 },
                    Op::Put { account: 0, key: (12, 2), content: 2 },
                    Op::Put { account: 0, key: (2, 0), content: 1 },
                    Op::Put { account: 0, key: (2, 0), content: 2 },
                    Op::Drop { account: 1, key: (11, 1) },
                    Op::Drop { account: 1, key: (12, 1) },
                    Op::Drop { account: 0, key: (11, 2) },
                    Op::Put { account: 0, key: (2, 0), content: 3 },
                ],
                compacts: false,
                index_goes: false,
            },
            Step::Together(vec![
                Op::Drop { account: 0, key: (12, 0) },
                Op::Drop { account: 1, key: (12, 1) },
                Op::Put { account: 1, key: (2, 0), content: 1 },
                Op::Put { account: 0, key: (1, 0), content: 0 },
                Op::Put { account: 0, key: (12, 2), content: 3 },
                Op::Drop { account: 1, key: (11, 1) },
                Op::Put { account: 1, key: (1, 0), content: 3 },
                Op::Put { account: 1, key: (12, 0), content: 2 },
                Op::Put { account: 0, key: (2, 1), content: 5 },
            ]),
            Step::End {
                end: E::PowerCut(W::Some),
                after: 22,
                ops: vec![
                    Op::Put { account: 1, key: (1, 2), content: 1 },
                    Op::Session { tessera: 12, contents: vec![5, 2], commits: true },
                    Op::Drop { account: 1, key: (1, 2) },
                    Op::Put { account: 1, key: (2, 2), content: 3 },
                    Op::Drop { account: 0, key: (2, 1) },
                ],
                compacts: true,
                index_goes: false,
            },
            Step::End {
                end: E::PowerCut(W::Some),
                after: 20,
                ops: vec![
                    Op::Drop { account: 0, key: (12, 1) },
                    Op::Drop { account: 0, key: (2, 0) },
                    Op::Session { tessera: 11, contents: vec![5], commits: true },
                    Op::Put { account: 0, key: (1, 2), content: 3 },
                    Op::Put { account: 1, key: (1, 1), content: 0 },
                    Op::Drop { account: 0, key: (12, 1) },
                    Op::Drop { account: 1, key: (12, 0) },
                    Op::Drop { account: 1, key: (1, 2) },
                    Op::Drop { account: 0, key: (2, 0) },
                ],
                compacts: true,
                index_goes: false,
            },
            Step::End {
                end: E::PowerCut(W::Some),
                after: 9,
                ops: vec![
                    Op::Put { account: 0, key: (12, 1), content: 3 },
                    Op::Put { account: 0, key: (12, 1), content: 5 },
                ],
                compacts: true,
                index_goes: false,
            },
        ],
    };
    run::run(&h).await;
}
