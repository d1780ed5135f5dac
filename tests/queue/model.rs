//! The queue as it should be: a pure model of what the scripts do. Random sequences are played to both, and every small
//! one; after each step all that lies in Redis must be what the model says, to the last key.

mod answers;
mod observed;
mod ops;
mod play;
mod state;

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use ops::{End, Given, Mode, Op};
use play::Play;

fn item() -> impl Strategy<Value = Given> {
    (
        0..5_usize,
        0..3_usize,
        prop::option::of(0..4_u8),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(id, group, once, delayed, revive, log)| Given {
            id,
            group,
            once,
            delayed,
            revive,
            log,
        })
}

fn op() -> impl Strategy<Value = Op> {
    let end = prop_oneof![
        3 => Just(End::Done),
        2 => Just(End::Retry),
        1 => Just(End::DeadForGood),
        1 => Just(End::DeadForNow),
        1 => Just(End::Left),
        1 => Just(End::LeftForTooLong),
    ];
    let mode = prop_oneof![Just(Mode::Together), Just(Mode::Willing), Just(Mode::Alone)];
    let settled = (0..5_usize, prop::bool::weighted(0.8), end);
    prop_oneof![
        4 => prop::collection::vec(item(), 1..4).prop_map(Op::Enqueue),
        5 => (0..3_usize, 0..4_usize, prop::bool::weighted(0.7), prop_oneof![3 => Just(0), 1 => 1..4_usize], mode)
            .prop_map(|(token, wanted, new, most, mode)| Op::Claim { token, wanted, new, most, mode }),
        5 => (0..3_usize, prop::collection::vec(settled, 1..4)).prop_map(|(token, jobs)| Op::Settle { token, jobs }),
        1 => (0..3_usize).prop_map(Op::Renew),
        2 => (0..3_usize).prop_map(Op::Expire),
        2 => (0..5_usize).prop_map(Op::Due),
        1 => (0..3_usize, any::<bool>(), prop::collection::btree_set(0..5_usize, 0..3))
            .prop_map(|(token, leave, known)| Op::Resync { token, leave, known }),
        1 => prop::collection::vec(0..5_usize, 1..4).prop_map(Op::Retry),
        1 => prop::collection::vec(0..5_usize, 1..4).prop_map(Op::Discard),
        1 => any::<bool>().prop_map(Op::Trim),
        1 => Just(Op::Recover),
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
        1 => Just(Op::Silence),
    ]
}

#[test]
fn random_interleavings_of_push_claim_settle_leave_expire_crash_resync_retry_discard_and_trim_follow_the_model()
 {
    let play = std::cell::RefCell::new(Play::start());
    let config = Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&prop::collection::vec(op(), 1..60), |ops| {
            let mut play = play.borrow_mut();
            play.reset();
            for op in &ops {
                play.step(op).map_err(TestCaseError::fail)?;
            }
            play.drain().map_err(TestCaseError::fail)
        })
        .unwrap();
}

/// Everything that can be done with two jobs and two workers, each job's number of attempts and crashes small.
fn alphabet() -> Vec<Op> {
    let mut all = vec![Op::Pause, Op::Silence, Op::Recover];
    for id in 0..2 {
        for (delayed, revive) in [(false, false), (false, true), (true, false)] {
            all.push(Op::Enqueue(vec![Given {
                id,
                group: id,
                once: None,
                delayed,
                revive,
                log: false,
            }]));
        }
        all.push(Op::Due(id));
        all.push(Op::Retry(vec![id]));
        all.push(Op::Discard(vec![id]));
        for token in 0..2 {
            for end in [End::Done, End::Retry, End::DeadForNow, End::Left] {
                all.push(Op::Settle {
                    token,
                    jobs: vec![(id, true, end)],
                });
            }
        }
    }
    for token in 0..2 {
        for wanted in 0..3 {
            all.push(Op::Claim {
                token,
                wanted,
                new: wanted == 2,
                most: usize::from(wanted == 1),
                mode: [Mode::Willing, Mode::Alone, Mode::Together][wanted],
            });
        }
        all.push(Op::Expire(token));
        all.push(Op::Resync {
            token,
            leave: true,
            known: BTreeSet::new(),
        });
    }
    all
}

#[test]
fn every_interleaving_of_two_jobs_and_two_workers_to_a_depth_of_five_follows_the_model() {
    const DEPTH: usize = 5;
    let mut play = Play::start();
    let alphabet = alphabet();
    let mut seen = BTreeSet::from([state::State::default()]);
    // One path to each state that there is; two paths to one state need not both be gone on from.
    let mut paths: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..DEPTH {
        let mut longer = Vec::new();
        for path in &paths {
            for next in 0..alphabet.len() {
                play.reset();
                for op in path {
                    play.repeat(&alphabet[*op]);
                }
                let before = play.state().clone();
                if let Err(why) = play.step(&alphabet[next]) {
                    let told: Vec<_> = path.iter().map(|op| &alphabet[*op]).collect();
                    panic!("{told:#?} and then {:#?}: {why}", alphabet[next]);
                }
                if *play.state() != before && seen.insert(play.state().clone()) {
                    longer.push(path.iter().copied().chain([next]).collect());
                }
            }
        }
        paths = longer;
    }
    assert!(seen.len() > 1_000, "{} states", seen.len());
}
