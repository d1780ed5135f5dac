//! Subscriptions whose owner today's rules would not choose, and the command that moves one.

use chrono::TimeDelta;
use serde_json::json;
use surepass::guest;
use surepass::store::{CreatedVia, EmailProof};

use crate::reconcile::fixture::{Fixture, listed};
use support::program::{stderr, stdout};

const MINUTE: TimeDelta = TimeDelta::minutes(1);

#[tokio::test]
async fn an_owner_whom_todays_rules_would_not_choose_is_named_with_the_command_that_moves_it() {
    let fixture = Fixture::open().await;
    // Bought by guests; an older version gave some to whoever had typed the email before.
    let owned_by = async |name: &str, user: Option<&str>| {
        let guests = Fixture::sold(name, 5).with("userId", None);
        fixture.stripe.add("", listed(&guests));
        let held = guests.clone().with("userId", user);
        fixture.fulfil(&held, CreatedVia::Webhook, MINUTE).await;
        guests
    };
    let stolen = owned_by("STOLEN", Some("user_evil")).await;
    let proved = owned_by("PROVED", Some("user_bo")).await;
    let other = owned_by("OTHER", Some("user_evil")).await;
    owned_by("GUEST", None).await;
    fixture.sell("NAMED", 5).await;
    for (session, user) in [(&proved, "user_bo"), (&other, "user_kai")] {
        let proof = EmailProof {
            email: &session.email,
            user,
            at: session.created,
            audit: user,
        };
        fixture.store.users().prove_email(&proof).await.unwrap();
    }

    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.status, 0, "{}", ledger.stderr);
    let mut expected = [stolen.session_id(), other.session_id()];
    expected.sort_unstable();
    assert_eq!(ledger.sessions("otherOwner"), expected);
    let victim = guest::of_email("tenant-1", &stolen.email);
    for (session, owner) in [(&stolen, victim.as_str()), (&other, "user_kai")] {
        let items = ledger.json["otherOwner"]["items"].as_array().unwrap();
        let found = items
            .iter()
            .find(|one| one["session"] == json!(session.session_id()));
        let found = found.unwrap();
        assert_eq!(
            found["differences"],
            json!([{"field": "user", "stripe": owner, "store": "user_evil"}])
        );
        let fix = found["fix"].as_str().unwrap();
        let id = format!("subscription-{}", session.session_id());
        assert_eq!(
            fix,
            format!("surepass subscriptions move {id} --user {owner} --why 'reconcile'")
        );
        let words: Vec<&str> = fix.split(' ').skip(1).collect();
        let moved = fixture.shop.surepass(&words).await;
        assert!(moved.status.success(), "{}", stderr(&moved));
    }
    fixture.reconcile(&[]).await.finds_nothing();

    // What a guest holds goes to who proves the email, however it came to the guest.
    let proof = EmailProof {
        email: &stolen.email,
        user: "user_victim",
        at: stolen.created,
        audit: "victim",
    };
    fixture.store.users().prove_email(&proof).await.unwrap();
    let shown = fixture
        .shop
        .surepass(&["subscriptions", "show", &stolen.session_id(), "--json"])
        .await;
    let shown: serde_json::Value = serde_json::from_str(&stdout(&shown)).unwrap();
    assert_eq!(shown["user"], "user_victim");
    assert_eq!(
        (&shown["isGuest"], &shown["movedByPerson"]),
        (&json!(false), &json!(true))
    );
}

#[tokio::test]
async fn a_move_is_audited_once_and_refusals_say_what_to_do() {
    let fixture = Fixture::open().await;
    let session = fixture.sell("ONE", 5).await;
    let id = format!("subscription-{}", session.session_id());
    let run = async |arguments: &[&str]| {
        let output = fixture
            .shop
            .surepass(&[&["subscriptions", "move"], arguments].concat())
            .await;
        (output.status.code().unwrap(), stdout(&output), stderr(&output))
    };
    for (arguments, status, words) in [
        (vec![id.as_str(), "--why", "x"], 2, "--user"),
        (
            vec![&id, "--user", "bo", "--email", "bo@example.com", "--why", "x"],
            2,
            "--email",
        ),
        (vec![&id, "--user", "bo"], 2, "--why"),
        (vec![&id, "--user", "bo", "--why", " "], 2, "audit log"),
        (vec![&id, "--user", "undefined", "--why", "x"], 2, "`sub`"),
        (
            vec![&id, "--user", "guest-abc", "--why", "x"],
            2,
            "`guest-abc` is not a user",
        ),
        (vec![&id, "--email", "bo", "--why", "x"], 2, "NAME@DOMAIN"),
        (
            vec!["cs_test_none", "--user", "bo", "--why", "x"],
            1,
            "surepass subscriptions list --email",
        ),
    ] {
        let (code, _, told) = run(&arguments).await;
        assert_eq!(code, status, "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
    assert_eq!(fixture.store.audit().list(10).await.unwrap(), []);

    let (code, told, _) = run(&[&id, "--user", "user_bo", "--why", "ticket 4711"]).await;
    assert_eq!(
        (code, told.contains("moved from user_ONE to user_bo")),
        (0, true),
        "{told}"
    );
    let (code, told, _) = run(&[
        &session.session_id(),
        "--user",
        "user_bo",
        "--why",
        "again",
        "--json",
    ])
    .await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &told["moved"]), (0, &json!(false)));
    let audit = fixture.store.audit().list(10).await.unwrap();
    let [record] = &audit[..] else { panic!("{audit:?}") };
    assert_eq!(
        (
            record.action.as_str(),
            record.reason.as_deref(),
            record.outcome.as_deref()
        ),
        ("subscription.move", Some("ticket 4711"), Some("moved"))
    );
    let target: serde_json::Value = serde_json::from_str(&record.target).unwrap();
    assert_eq!(
        target,
        json!({"subscription": id, "from": "user_ONE", "to": "user_bo"})
    );
    let shown = fixture.shop.surepass(&["subscriptions", "show", &id]).await;
    assert!(
        stdout(&shown).contains("user_bo (moved here by an operator)"),
        "{}",
        stdout(&shown)
    );
}
