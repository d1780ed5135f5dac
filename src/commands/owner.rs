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

pub(super) const NO_USER_ID: &str = "--user must be a user's id as their token has it in `sub`: not empty, without spaces around it, \
     500 bytes at most";
/// So many others of the owner's are counted.
const MOST_OTHERS: u32 = 1_000;

/// Whose a subscription is to be.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct NewOwner {
    /// The user's id, as their token has it in `sub`; created if it is new
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// The user who has proved this email, else its guest at that tenant. Make sure that it is the buyer's
    #[arg(long, value_name = "EMAIL")]
    email: Option<String>,
}

pub(crate) async fn show(settings: &Settings, id: &str, json: bool) -> Result<ExitCode, Failure> {
    let store = open_for_reading(settings).await?;
    let Some(one) = find(store.as_ref(), id).await? else {
        return Ok(unknown(id));
    };
    let moved = store.ownership().moved(&[&one.id]).await?.contains(&one.id);
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
        .subscriptions(&filter, MOST_OTHERS)
        .await?
        .len()
        .saturating_sub(1);
    let date = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%M UTC").to_string();
    let owner = if guest::is_guest(&one.user) {
        " (a guest: the first who signs in with the email verified gets it)"
    } else if moved {
        " (a person has moved it here)"
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
        ("", format!("has {others} other subscriptions")),
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
        return Ok(misuse(
            "--why is empty: say why, for the audit log, such as the ticket's number",
        ));
    }
    let store = open_store(settings).await?;
    let Some(one) = find(store.as_ref(), id).await? else {
        return Ok(unknown(id));
    };
    let (to, email) = match target(store.as_ref(), &one, owner).await? {
        Ok(target) => target,
        Err(words) => return Ok(misuse(&words)),
    };
    let from = one.user.clone();
    let tell = |moved: bool| -> Result<ExitCode, Failure> {
        if json {
            print_json(&json!({ "subscription": one.id, "from": from, "to": to, "moved": moved }))?;
        } else if moved {
            println!("{}: moved from {} to {}.", safe(&one.id), safe(&from), safe(&to));
            if guest::is_guest(&to) {
                println!(
                    "A guest holds it now: only who signs in with that guest's email verified gets it. --email names a guest by its email."
                );
            }
        } else {
            println!(
                "{}: {} has it already; nothing changed.",
                safe(&one.id),
                safe(&to)
            );
        }
        Ok(ExitCode::SUCCESS)
    };
    if from == to {
        return tell(false);
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
    // What cannot be written there is not done.
    store.begin_audit(&record).await.map_err(|error| {
        format!("nothing was moved, for it could not be written to the audit log. {error}")
    })?;
    let wanted = Move {
        subscription: &one.id,
        from: &from,
        to: &to,
        email: email.as_deref(),
        at: clock.now(),
    };
    let moved = store.ownership().move_subscription(&wanted).await;
    let outcome = match &moved {
        Ok(Moved::Done) => "moved".to_owned(),
        Ok(Moved::Stale) => "nothing moved: its owner has changed meanwhile".to_owned(),
        Err(error) => format!("failed: {error}"),
    };
    store.end_audit(&record.id, clock.now(), &outcome).await?;
    match moved? {
        Moved::Done => tell(true),
        Moved::Stale => Err(format!(
            "{} was not moved: {} no longer has it. Look again: surepass subscriptions show {}",
            safe(&one.id),
            safe(&from),
            safe(&one.id)
        )
        .into()),
    }
}

/// The new owner's id, and the email that a new user is created with. `Err`: why it cannot be.
async fn target(
    store: &dyn Store,
    one: &Subscription,
    owner: NewOwner,
) -> Result<Result<(String, Option<String>), String>, Failure> {
    if let Some(email) = owner.email {
        let email = email::normalize(&email);
        if !email::is_address(&email) {
            return Ok(Err("--email must be an email address: NAME@DOMAIN".to_owned()));
        }
        let prover = store.ownership().verified_owners(&[&email]).await?.remove(&email);
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
async fn find(store: &dyn Store, id: &str) -> Result<Option<Subscription>, Failure> {
    let filter = SubscriptionFilter {
        session: Some(id.strip_prefix("subscription-").unwrap_or(id).to_owned()),
        ..SubscriptionFilter::default()
    };
    Ok(store.subscriptions(&filter, 1).await?.pop())
}

fn unknown(id: &str) -> ExitCode {
    let id = safe(id);
    eprintln!(
        "surepass: there is no subscription {id}. Find its id: surepass subscriptions list --email EMAIL. Paid and not there? \
         surepass sync --session cs_…"
    );
    ExitCode::FAILURE
}
