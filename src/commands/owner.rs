//! `surepass subscriptions show|move`

use std::process::ExitCode;

use serde_json::json;
use surepass::clock::Clock;
use surepass::config::Settings;
use surepass::store::{AuditRecord, Move, Moved, Store, Subscription, SubscriptionFilter};
use surepass::{email, guest};

use super::jobs::who;
use super::terminal::{print_json, safe};
use super::{misuse, open_for_reading, open_store};
use crate::Failure;

pub(super) const NO_REASON: &str =
    "--why is empty: give the reason for the audit log, such as a ticket number";
pub(super) const NO_USER_ID: &str =
    "--user must be a user id as in the token's `sub`: not empty, no spaces around it, at most 500 bytes";
/// How many other subscriptions of the owner are counted at most.
const MOST_OTHERS: u32 = 1_000;

/// The new owner of a subscription.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct NewOwner {
    /// The user's id, as in their token's `sub`; created if it does not exist
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// The user who has verified this email, or else its guest at that tenant. Make sure that it belongs to the buyer
    #[arg(long, value_name = "EMAIL")]
    email: Option<String>,
}

pub(crate) async fn show(settings: &Settings, id: &str, json: bool) -> Result<ExitCode, Failure> {
    let store = open_for_reading(settings).await?;
    let Some(one) = find(store.as_ref(), id).await? else {
        return Ok(unknown(id));
    };
    let moved = store.users().moved(&[&one.id]).await?.contains(&one.id);
    if json {
        let mut document = serde_json::to_value(&one)?;
        document["isGuest"] = guest::is_guest(&one.user).into();
        document["movedByPerson"] = moved.into();
        print_json(&document)?;
        return Ok(ExitCode::SUCCESS);
    }
    let filter = SubscriptionFilter {
        user: Some(one.user.clone()),
        ..SubscriptionFilter::default()
    };
    let others = store
        .subscriptions()
        .list(&filter, MOST_OTHERS)
        .await?
        .len()
        .saturating_sub(1);
    let date = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%M UTC").to_string();
    let owner = if guest::is_guest(&one.user) {
        " (a guest: the first user who signs in with this email verified gets it)"
    } else if moved {
        " (moved here by an operator)"
    } else {
        ""
    };
    let classes = one
        .remaining_clips
        .map_or_else(|| "unlimited".to_owned(), |left| left.to_string());
    let maybe = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for (name, value) in [
        ("subscription", one.id.clone()),
        ("owner", format!("{}{owner}", one.user)),
        ("", format!("{others} other subscriptions")),
        ("tenant", one.tenant.clone()),
        ("pass", format!("{} ({})", one.pass_name, one.pass_id)),
        ("classes", classes),
        ("from", date(one.start_date)),
        ("until", date(one.end_date)),
        ("paid", one.purchase_price.to_string()),
        ("active", if one.is_active { "yes" } else { "no" }.to_owned()),
        ("session", one.stripe_session_id.clone()),
        ("payment", maybe(&one.stripe_payment_id)),
        ("customer", maybe(&one.stripe_customer_id)),
        ("upgrade of", maybe(&one.upgraded_from_subscription_id)),
        (
            "created",
            format!("{} by {}", date(one.created_at), one.created_via.as_str()),
        ),
    ] {
        println!("{name:<13} {}", safe(&value));
    }
    println!(
        "\nWrong owner? surepass subscriptions move {} --user ID --why '…'",
        safe(&one.id)
    );
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn give(
    settings: &Settings,
    id: &str,
    owner: NewOwner,
    why: &str,
    json: bool,
) -> Result<ExitCode, Failure> {
    if why.trim().is_empty() {
        return Ok(misuse(NO_REASON));
    }
    let store = open_store(settings).await?;
    let Some(one) = find(store.as_ref(), id).await? else {
        return Ok(unknown(id));
    };
    let (to, email) = match target(store.as_ref(), &one, owner).await? {
        Ok(target) => target,
        Err(message) => return Ok(misuse(&message)),
    };
    let from = one.user.clone();
    let report = |moved: bool| -> Result<ExitCode, Failure> {
        if json {
            print_json(&json!({ "subscription": one.id, "from": from, "to": to, "moved": moved }))?;
        } else if moved {
            println!("{}: moved from {} to {}.", safe(&one.id), safe(&from), safe(&to));
            if guest::is_guest(&to) {
                println!(
                    "The new owner is a guest: only a user who signs in with that guest's email verified gets it. Use --email to name a guest by its email."
                );
            }
        } else {
            println!(
                "{}: {} already owns it. Nothing changed.",
                safe(&one.id),
                safe(&to)
            );
        }
        Ok(ExitCode::SUCCESS)
    };
    if from == to {
        return report(false);
    }
    let clock = Clock::system();
    let record = AuditRecord {
        id: ulid::Ulid::generate().to_string(),
        actor: who(),
        action: "subscription.move".to_owned(),
        target: json!({ "subscription": one.id, "from": from, "to": to }).to_string(),
        reason: Some(why.to_owned()),
        began_at: clock.now(),
        ended_at: None,
        outcome: None,
    };
    // An action that cannot be logged is not carried out.
    store
        .audit()
        .begin(&record)
        .await
        .map_err(|error| format!("nothing was moved: the audit log could not be written. {error}"))?;
    let wanted = Move {
        subscription: &one.id,
        from: &from,
        to: &to,
        email: email.as_deref(),
        at: clock.now(),
    };
    let moved = store.users().move_subscription(&wanted).await;
    let outcome = match &moved {
        Ok(Moved::Done) => "moved".to_owned(),
        Ok(Moved::Stale) => "nothing moved: the owner changed in the meantime".to_owned(),
        Err(error) => format!("failed: {error}"),
    };
    store.audit().end(&record.id, clock.now(), &outcome).await?;
    match moved? {
        Moved::Done => report(true),
        Moved::Stale => Err(format!(
            "{} was not moved: {} no longer owns it. Next: surepass subscriptions show {}",
            safe(&one.id),
            safe(&from),
            safe(&one.id)
        )
        .into()),
    }
}

/// The new owner's id, and the email of a user that must be created. `Err`: why there can be no such owner.
async fn target(
    store: &Store,
    one: &Subscription,
    owner: NewOwner,
) -> Result<Result<(String, Option<String>), String>, Failure> {
    if let Some(email) = owner.email {
        let email = email::normalize(&email);
        if !email::is_address(&email) {
            return Ok(Err("--email must be an email address: NAME@DOMAIN".to_owned()));
        }
        let prover = store.users().verified_owners(&[&email]).await?.remove(&email);
        let to = prover.unwrap_or_else(|| guest::of_email(&one.tenant, &email));
        return Ok(Ok((to, Some(email))));
    }
    let user = owner.user.unwrap_or_default();
    // A guest's id is what `reconcile` names; it is the id of one email at one tenant.
    if !guest::is_user_id(&user) {
        return Ok(Err(NO_USER_ID.to_owned()));
    }
    if guest::is_invalid_guest(&user) {
        return Ok(Err(format!(
            "`{}` is not a user: ids that begin with guest- are made by Surepass. Use --email to name a guest",
            safe(&user)
        )));
    }
    Ok(Ok((user, None)))
}

/// By its own id or its session's.
async fn find(store: &Store, id: &str) -> Result<Option<Subscription>, Failure> {
    let filter = SubscriptionFilter {
        session: Some(id.strip_prefix("subscription-").unwrap_or(id).to_owned()),
        ..SubscriptionFilter::default()
    };
    Ok(store.subscriptions().list(&filter, 1).await?.pop())
}

fn unknown(id: &str) -> ExitCode {
    let id = safe(id);
    eprintln!(
        "surepass: there is no subscription {id}. Next: `surepass subscriptions list --email EMAIL` finds its id; `surepass sync \
         --session cs_…` fulfils a paid session"
    );
    ExitCode::FAILURE
}
