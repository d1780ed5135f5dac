//! "Fulfilment" rule 5: whose a purchase is that names no user.

use std::sync::Arc;

use futures::future::join_all;
use surepass::guest;
use surepass::store::{Buyer, Created, EmailProof, Move, Moved, NewSubscription, Store};

use crate::store::all;
use crate::store::create;
use crate::store::one;
use support::home::Home;
use support::purchases::{minute, purchase, upgrade};

contract!(
    rule_5_a_typed_email_leads_to_nobodys_account_and_guests_are_per_tenant_and_email,
    rule_5_the_first_who_proves_an_email_gets_its_guests_at_all_tenants_and_what_they_buy_later,
    rule_5_a_guest_of_an_older_version_goes_to_who_proves_the_email,
    rule_5_a_proof_beside_purchases_leaves_nothing_with_a_guest,
    rule_5_an_upgrade_beside_a_proof_is_the_provers,
    a_move_is_done_once_creates_its_user_and_is_known,
);

const KARI: &str = "kari@example.com";

fn by(name: &str, tenant: &str, user: Option<&str>, email: &str) -> Box<NewSubscription> {
    let mut new = purchase(name);
    new.subscription.tenant = format!("tenant-{tenant}");
    new.buyer = Buyer {
        user_id: user.map(str::to_owned),
        email: Some(email.to_owned()),
        name: None,
    };
    new
}

async fn owner(store: &Arc<Store>, new: Box<NewSubscription>) -> String {
    match create(store, new).await {
        Created::New { user, .. } => user,
        other => panic!("{other:?}"),
    }
}

async fn prove(store: &Arc<Store>, email: &str, user: &str) -> String {
    let proof = EmailProof {
        email,
        user,
        at: minute(7),
        audit: &format!("audit-{email}-{user}"),
    };
    store
        .users()
        .prove_email(&proof)
        .await
        .expect("the store answers")
}

async fn rule_5_a_typed_email_leads_to_nobodys_account_and_guests_are_per_tenant_and_email(home: Home) {
    let store = home.ready().await;
    assert_eq!(
        owner(&store, by("1", "studio", Some("user_evil"), KARI)).await,
        "user_evil"
    );
    let here = owner(&store, by("2", "studio", None, " Kari@Example.com")).await;
    let there = owner(&store, by("3", "other", None, KARI)).await;
    assert_eq!(here, guest::of_email("tenant-studio", KARI));
    assert_eq!(there, guest::of_email("tenant-other", KARI));
    assert_eq!(owner(&store, by("4", "studio", None, KARI)).await, here);
    let kelvin = owner(&store, by("5", "studio", None, "\u{212a}ari@example.com")).await;
    assert_ne!(kelvin, here);
}

async fn rule_5_the_first_who_proves_an_email_gets_its_guests_at_all_tenants_and_what_they_buy_later(
    home: Home,
) {
    let store = home.ready().await;
    for (name, tenant, user, email) in [
        ("1", "studio", None, KARI),
        ("2", "other", None, KARI),
        ("3", "studio", None, "ola@example.com"),
        ("4", "studio", Some("user_evil"), KARI),
    ] {
        create(&store, by(name, tenant, user, email)).await;
    }
    assert_eq!(prove(&store, KARI, "kari").await, "kari");
    let owners = async || {
        let mut all = all(&store).await;
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all.into_iter().map(|one| one.user).collect::<Vec<_>>()
    };
    let ola = guest::of_email("tenant-studio", "ola@example.com");
    assert_eq!(owners().await, ["kari", "kari", &ola, "user_evil"]);
    assert_eq!(prove(&store, KARI, "second").await, "kari");
    assert_eq!(prove(&store, KARI, "kari").await, "kari");
    assert_eq!(
        owner(&store, by("5", "other", None, "KARI@example.com")).await,
        "kari"
    );
    assert_eq!(owners().await, ["kari", "kari", &ola, "user_evil", "kari"]);

    let audit = store.audit().list(10).await.expect("the store answers");
    let [record] = &audit[..] else { panic!("{audit:?}") };
    assert_eq!(
        (record.action.as_str(), record.outcome.as_deref()),
        ("email.prove", Some("2 moved"))
    );
    assert!(
        record.target.contains("subscription-cs_2") && !record.target.contains(KARI),
        "{record:?}"
    );
    let verified_owners = store
        .users()
        .verified_owners(&[KARI, "ola@example.com"])
        .await
        .unwrap();
    assert_eq!(
        verified_owners.into_iter().collect::<Vec<_>>(),
        [(KARI.to_owned(), "kari".to_owned())]
    );
}

async fn rule_5_a_guest_of_an_older_version_goes_to_who_proves_the_email(home: Home) {
    let store = home.ready().await;
    let idn = "jos\u{e9}@xn--bcher-kva.example";
    for (name, typed, proved) in [
        ("1", KARI, KARI),
        ("2", "jos\u{e9}@b\u{fc}cher.example", idn),
        ("3", "quack@example.com", "quac\u{212a}@example.com"),
    ] {
        // As that version made it: the hash of the email in lower case.
        let old = guest::old_of_email(typed).remove(0);
        let mut new = by(name, "studio", Some("somebody"), typed);
        new.buyer.user_id = Some(old.clone());
        assert_eq!(owner(&store, new).await, old);
        assert_eq!(prove(&store, proved, "prover").await, "prover");
        let owner = one(&store, &format!("cs_{name}")).await.user;
        assert_eq!(owner == "prover", name != "3", "{typed}");
    }
}

async fn rule_5_a_proof_beside_purchases_leaves_nothing_with_a_guest(home: Home) {
    let (store, other) = (home.ready().await, home.open().await);
    for round in 0..12 {
        let email = format!("kari-{round}@example.com");
        let tasks = (0..12).map(|nth| {
            let store = Arc::clone(if nth % 2 == 0 { &store } else { &other });
            let email = email.clone();
            tokio::spawn(async move {
                if nth % 4 == 3 {
                    return Some(prove(&store, &email, &format!("prover-{nth}")).await);
                }
                let tenant = if nth % 3 == 0 { "studio" } else { "other" };
                create(&store, by(&format!("{round}-{nth}"), tenant, None, &email)).await;
                None
            })
        });
        let verified_owners = join_all(tasks)
            .await
            .into_iter()
            .filter_map(|one| one.expect("no panic"));
        let mut verified_owners: Vec<_> = verified_owners.collect();
        verified_owners.dedup();
        assert_eq!(verified_owners.len(), 1, "{verified_owners:?}");
        for nth in (0..12).filter(|nth| nth % 4 != 3) {
            let held = one(&store, &format!("cs_{round}-{nth}")).await;
            assert_eq!(held.user, verified_owners[0], "{round} {nth}");
        }
    }
}

async fn rule_5_an_upgrade_beside_a_proof_is_the_provers(home: Home) {
    let (store, other) = (home.ready().await, home.open().await);
    for round in 0..12 {
        let email = format!("kari-{round}@example.com");
        create(&store, by(&format!("old-{round}"), "studio", None, &email)).await;
        let proving = prove(&other, &email, "kari");
        let upgrading = create(&store, upgrade(&format!("new-{round}"), &format!("old-{round}")));
        tokio::join!(proving, upgrading);
        for name in ["old", "new"] {
            assert_eq!(
                one(&store, &format!("cs_{name}-{round}")).await.user,
                "kari",
                "{name} {round}"
            );
        }
    }
}

async fn a_move_is_done_once_creates_its_user_and_is_known(home: Home) {
    let store = home.ready().await;
    create(&store, by("1", "studio", Some("user_evil"), KARI)).await;
    create(&store, by("2", "studio", Some("user_evil"), KARI)).await;
    let (first, second) = ("subscription-cs_1", "subscription-cs_2");
    let moved = async |from: &str| {
        let wanted = Move {
            subscription: first,
            from,
            to: "kari",
            email: None,
            at: minute(9),
        };
        store
            .users()
            .move_subscription(&wanted)
            .await
            .expect("the store answers")
    };
    assert_eq!(moved("user_other").await, Moved::Stale);
    assert_eq!(home.number("SELECT count(*) FROM users").await, 1);
    assert_eq!(moved("user_evil").await, Moved::Done);
    assert_eq!(moved("user_evil").await, Moved::Stale);
    let held = one(&store, "cs_1").await;
    assert_eq!((held.user.as_str(), held.updated_at), ("kari", minute(9)));
    let known = store.users().moved(&[first, second]).await.unwrap();
    assert_eq!(known.into_iter().collect::<Vec<_>>(), [first]);
    assert_eq!(home.number("SELECT count(*) FROM users").await, 2);
}
