//! What the doctor says of what lies in Redis and comes to no end by itself.

use crate::doctor::fixture::Fixture;

#[tokio::test]
async fn jobs_in_no_list_jobs_of_another_prefix_and_refused_events_are_told() {
    let checkup = Fixture::new(false).await;
    let job = "fulfil/1 - - 1700000000000 0 0\n{}";
    for words in [
        ["SET", "{surepass:fulfil}:data:a", job],
        ["SET", "{former:fulfil}:data:a", job],
        ["RPUSH", "{former:fulfil}:wait", "a"],
    ] {
        checkup.shop.redis(&words).await.unwrap();
    }
    let refused = ["XADD", "{surepass:fulfil}:parked", "*", "h", "{}"];
    checkup.shop.redis(&refused).await.unwrap();
    let found = checkup.doctor().await;
    let told = [found.wrong(), found.warnings()].concat();
    for expected in [
        "Work/lost keys: 1 jobs of the queue `fulfil` are in no list: Redis lost keys",
        "Work/queue prefix: 1 jobs are waiting in the queue `fulfil` under the prefix `former`, which no worker serves",
        "Work/event log: the store refused 1 events of the event log; they are kept in Redis",
    ] {
        assert!(
            told.iter().any(|line| line == expected),
            "{expected} is not in {told:#?}"
        );
    }
    // Looking has changed nothing.
    let again = checkup.doctor().await;
    assert_eq!([again.wrong(), again.warnings()].concat(), told);
}
