//! The page in every state and both languages, whole: a text or an element that changes is reviewed as a snapshot's
//! difference.

use std::fmt::Write;

use chrono::TimeDelta;
use serde_json::json;

use crate::fixture::{Fixture, of};
use crate::reader::{PAGE, Reader, Sight, hold};
use support::program::stderr;
use support::shop::now;
use support::snapshot;

/// A state's name, and where it is seen.
type State = (&'static str, String);

/// A page with an element a line, so that a difference is one of few words.
fn legible(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let (words, tag) = rest.split_at(at);
        text.push_str(words.trim());
        // What ends a text or an element follows it; what begins one begins a line.
        if !tag.starts_with("</") && !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let end = tag.find('>').map_or(tag.len(), |end| end + 1);
        text.push_str(&tag[..end]);
        rest = &tag[end..];
    }
    text + rest.trim()
}

fn bought(session: &str) -> String {
    format!("{PAGE}?success=true&session_id={session}")
}

/// What customers find whose purchases have gone every way that there is.
async fn states(studio: &Fixture) -> Vec<State> {
    let mut states: Vec<State> = Vec::new();
    for (name, outcome) in [
        ("unpaid", "open"),
        ("pending", "unpaid"),
        ("declined", "failed"),
        ("expired", "expired"),
    ] {
        states.push((name, bought(&studio.stripe.session("kari", outcome).await)));
    }
    let order = |metadata| json!({"outcome": "paid", "guests": true, "email": "kari@example.com", "webhooks": "none", "metadata": metadata});
    let mug = order(json!({"type": "mug", "userId": "kari", "tenantId": "tenant-1"}));
    states.push(("not a pass", bought(&studio.stripe.session_with(mug).await)));
    let refunded = studio.stripe.session("kari", "paid").await;
    studio.stripe.refund(&refunded).await;
    states.push(("refunded", bought(&refunded)));
    let keys = ["type", "passId", "passName"];
    for name in ["unmatched", "closed"] {
        let whole = of(studio.shop.session(), "kari");
        let nameless = keys.into_iter().fold(whole, |one, key| one.with(key, None));
        studio.shop.buy(&nameless).await;
        states.push((name, bought(&nameless.session_id())));
    }
    let dead = of(studio.shop.session(), "kari")
        .with("passId", Some("none"))
        .with("passName", None);
    studio.shop.buy(&dead).await;
    studio.shop.settled().await;
    let (_, closed) = &states[states.len() - 1];
    let (_, closed) = closed.split_once("session_id=").unwrap();
    let output = studio
        .shop
        .surepass(&["unmatched", "close", closed, "--why", "paid in cash"])
        .await;
    assert!(output.status.success(), "{}", stderr(&output));
    let dead = bought(&dead.session_id());
    states.push(("failed, synced just now", dead.clone()));
    states.push(("failed", format!("{dead}&attempt=16")));
    states.push(("confirming", bought("cs_test_nobodyknowsthisone")));
    states.push(("late", bought("cs_test_nobodyknowsthisone") + "&attempt=16"));
    for word in ["found&n=1", "found&n=2", "already", "none", "failed", "working"] {
        states.push(("synced", format!("{PAGE}?sync={word}")));
    }
    states
}

/// A user who holds one pass of each kind; answers where each is confirmed.
async fn holdings(studio: &Fixture) -> Vec<State> {
    let end = "2031-06-30T21:59:59Z".parse().unwrap();
    hold(studio, "ola", "active", |pass| {
        pass.created_at = now() - TimeDelta::minutes(3);
        pass.end_date = end;
    })
    .await;
    hold(studio, "ola", "unlimited", |pass| {
        pass.created_at = now() - TimeDelta::minutes(2);
        pass.end_date = "2031-01-31T23:01:00Z".parse().unwrap();
        pass.remaining_clips = None;
    })
    .await;
    hold(studio, "ola", "exchanged", |pass| {
        pass.created_at = now() - TimeDelta::minutes(1);
        pass.end_date = end;
        pass.is_active = false;
    })
    .await;
    hold(studio, "ola", "over", |pass| {
        pass.end_date = "2024-02-29T22:59:59Z".parse().unwrap();
    })
    .await;
    vec![
        ("active", bought("cs_test_active")),
        ("exchanged", bought("cs_test_exchanged")),
        ("ended", bought("cs_test_over")),
    ]
}

fn add(text: &mut String, name: &str, seen: &Sight) {
    writeln!(
        text,
        "== {name}: {}, {} ==
{}
",
        seen.status,
        seen.text("title"),
        legible(&seen.html)
    )
    .unwrap();
}

/// Compares a page that only another test sees.
pub(crate) fn check(name: &str, seen: &Sight) {
    let mut text = String::new();
    add_main(&mut text, name, seen);
    snapshot::check(&format!("page-{name}"), &text, Some(&[]));
}

/// The same without what all pages have around it, and without the passes.
fn add_main(text: &mut String, name: &str, seen: &Sight) {
    let (_, main) = seen.html.split_once("<main>").unwrap();
    let (main, _) = main.split_once("</main>").unwrap();
    let (main, _) = main.split_once("<section id=\"passes\">").unwrap_or((main, ""));
    let (status, title) = (seen.status, seen.text("title"));
    writeln!(
        text,
        "== {name}: {status}, {title} ==
{}
",
        legible(main)
    )
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_state_of_the_page_is_as_it_was_reviewed_in_both_languages() {
    let studio = Fixture::open_with(
        "syncs_per_minute = 1000\nsign_in_url = \"https://shop.example.com/{tenant}?next={return}\"",
    )
    .await;
    let worker = studio.shop.launch_worker(&[]);
    worker.says(r#""message":"working""#).await;
    let (states, holdings) = (states(&studio).await, holdings(&studio).await);
    let (kari, ola) = (
        studio.sign_in.token("kari").await,
        studio.sign_in.token("ola").await,
    );
    for lang in ["en", "nb"] {
        let reader = |token: &str| Reader::with_cookie(&studio, token).sending("Accept-Language", lang);
        let (kari, ola) = (reader(&kari), reader(&ola));
        let stranger = Reader::stranger(&studio).sending("Accept-Language", lang);
        let mut text = String::new();
        add(&mut text, "passes", &ola.get(PAGE).await);
        add(&mut text, "no passes", &kari.get(PAGE).await);
        for (name, path) in &holdings {
            add_main(&mut text, name, &ola.get(path).await);
        }
        for (name, path) in &states {
            add_main(&mut text, name, &kari.get(path).await);
        }
        add_main(&mut text, "signed out", &stranger.get(PAGE).await);
        let alone = stranger.get(&bought("cs_test_nobodyknowsthisone")).await;
        add_main(&mut text, "signed out, after payment", &alone);
        add_main(
            &mut text,
            "no such shop",
            &stranger.get("/nowhere/subscriptions").await,
        );
        let other_site = kari.submit("https://evil.example.com", PAGE, &[]).await;
        add_main(&mut text, "a form of another site", &other_site);
        let form = stranger
            .submit(stranger.own_origin(), "/api/user/session", &[])
            .await;
        add_main(&mut text, "a form that cannot be read", &form);
        snapshot::check(&format!("page-{lang}"), &text, Some(&[]));
    }
    let browser = Reader::stranger(&studio).sending("Accept", "text/html");
    let mut text = String::new();
    studio.shop.settled().await;
    add(&mut text, "first page", &browser.get("/").await);
    add(&mut text, "no such page", &browser.get("/nowhere").await);
    add(
        &mut text,
        "webhook's address",
        &browser.get("/webhooks/stripe").await,
    );
    snapshot::check("page-of-the-server", &text, Some(&[]));
}
