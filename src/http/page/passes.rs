//! The list of passes: the active ones, then the expired ones.

use chrono::{DateTime, SecondsFormat, Utc};
use maud::{Markup, html};

use super::format;
use super::i18n::fill;
use super::language::Reader;
use crate::store::{Subscription, Tenant};

pub(super) fn list(reader: &Reader, tenant: &Tenant, held: &[Subscription], now: DateTime<Utc>) -> Markup {
    let words = &reader.words().script;
    let is_active = |one: &&Subscription| one.is_active && one.end_date > now;
    let (active, over): (Vec<_>, Vec<_>) = held.iter().partition(is_active);
    html! {
        section #passes {
            h2 { (words.active_heading) }
            @if active.is_empty() {
                p.empty { (words.no_active) }
            } @else {
                ul.passes {
                    @for one in active { (pass(reader, tenant, one, now)) }
                }
            }
            @if !over.is_empty() {
                h2 { (words.expired_heading) }
                ul.passes.over {
                    @for one in over { (pass(reader, tenant, one, now)) }
                }
            }
        }
    }
}

fn pass(reader: &Reader, tenant: &Tenant, one: &Subscription, now: DateTime<Utc>) -> Markup {
    let words = reader.words();
    let (locale, zone) = (&reader.locale, &tenant.time_zone);
    let until = if one.end_date > now {
        let date = format::last_moment(locale, one.end_date, zone);
        fill(&words.script.valid_until, &[("date", &date)])
    } else {
        let date = format::day_of_end(locale, one.end_date, zone);
        fill(&words.script.ended, &[("date", &date)])
    };
    let (left, total) = classes(tenant, one);
    html! {
        li.pass {
            h3 { (one.pass_name) }
            p.classes { (classes_left(reader, left, total)) }
            @if let (Some(left), Some(total)) = (left, total) {
                // The text above says the same.
                progress value=(left) max=(total) aria-hidden="true" {}
            }
            p.until {
                @if !one.is_active && one.end_date > now {
                    (words.script.switched_off)
                } @else {
                    time datetime=(one.end_date.to_rfc3339_opts(SecondsFormat::Secs, true)) {
                        (until)
                    }
                }
            }
            p.price { (format::price(&reader.locale, &words.price, one.purchase_price)) }
        }
    }
}

/// The classes left (`None`: unlimited), and how many the pass had, if the catalog says so and that is not fewer.
fn classes(tenant: &Tenant, one: &Subscription) -> (Option<u64>, Option<u64>) {
    let natural = |count: i64| u64::try_from(count).unwrap_or(0);
    let left = one.remaining_clips.map(natural);
    let sold = tenant.passes.iter().find(|pass| pass.id == one.pass_id);
    let total = sold.and_then(|pass| pass.classes_limit).map(natural);
    (
        left,
        total.filter(|total| left.is_some_and(|left| left <= *total)),
    )
}

fn classes_left(reader: &Reader, left: Option<u64>, total: Option<u64>) -> String {
    let words = &reader.words().script;
    let Some(left) = left else {
        return words.unlimited.clone();
    };
    let n = format::count(&reader.locale, left);
    match total {
        Some(total) => {
            let form = reader.language.form(&words.classes_left_of, total);
            let total = format::count(&reader.locale, total);
            fill(form, &[("n", &n), ("total", &total)])
        }
        None => fill(reader.language.form(&words.classes_left, left), &[("n", &n)]),
    }
}
