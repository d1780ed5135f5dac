//! Lists of Stripe's that fail, leave something out, or have no end.

use std::time::Duration;

use chrono::TimeDelta;
use surepass::store::RunPhase;

use crate::sync::world::{World, ids, sweep};
use support::answer::Answer;
use support::program::eventually;
use support::shop::now;

#[tokio::test]
async fn a_buyer_of_whom_stripes_list_tells_nothing_is_asked_after_by_their_customer_or_email() {
    let mut world = World::open().await;
    world.shop.start_server().await;
    let unlisted = |customer: Option<&str>, email: &str| {
        let mut session = world.shop.session();
        session.customer = customer.map(str::to_owned);
        session.email = email.to_owned();
        world.stripe.sell(&session);
        world.stripe.unlist(&session.session_id());
        session
    };
    let by_customer = [(); 2].map(|()| unlisted(Some("cus_ada"), "ada@example.org"));
    let by_email = [(); 2].map(|()| unlisted(None, "bo@example.org"));
    // Of each the first purchase came by webhook.
    for session in [&by_customer[0], &by_email[0]] {
        assert_eq!(world.shop.buy(session).await, Answer::accepted());
    }
    world.shop.settled().await;
    let mut request = sweep("nightly", 30);
    request.to = now() + TimeDelta::minutes(1);
    let asked = world.request_account_sync(&request).await;
    assert_eq!(world.report(&asked.run).await.customers, 2);
    world.idle().await;
    world.shop.settled().await;
    let all = [by_customer, by_email].concat();
    assert_eq!(world.shop.fulfilled().await, ids(&all));
    assert_eq!(world.stripe.lists(), 3, "one call for each buyer");
}

#[tokio::test]
async fn a_page_that_stripe_cannot_list_whole_is_read_in_smaller_pages() {
    let world = World::open().await;
    let sold = world.sold_many(150);
    world.stripe.fail_later_pages(Some(25));
    let asked = world.request_account_sync(&sweep("nightly", 30)).await;
    assert_eq!(world.report(&asked.run).await.created_count, 150);
    assert_eq!(world.shop.fulfilled().await, ids(&sold));
    assert!(world.mark("sessions").await.is_some());
}

#[tokio::test]
async fn what_the_good_pages_of_a_list_held_is_fulfilled_though_a_later_page_always_fails() {
    let world = World::open().await;
    let sold = world.sold_many(150);
    world.stripe.fail_later_pages(Some(0));
    let asked = world.request_account_sync(&sweep("nightly", 30)).await;
    eventually("the passes of the first page", async || {
        world.shop.fulfilled().await == ids(&sold[..100])
    })
    .await;
    assert_eq!(world.mark("sessions").await, None);
    // The list can be read again: the sweep goes on where it stood.
    world.stripe.fail_later_pages(None);
    world.retry_dead().await;
    assert_eq!(world.report(&asked.run).await.created_count, 150);
    assert_eq!(world.shop.fulfilled().await, ids(&sold));
}

#[tokio::test]
async fn a_list_that_goes_round_in_circles_is_given_up_across_slices_and_what_it_held_is_fulfilled() {
    let world = World::open().await;
    let sold = world.sold_many(250);
    world.stripe.go_round(Some(200));
    // Each page takes longer than a slice may, so that each slice begins with one cursor.
    world.stripe.delay(Duration::from_secs(3));
    let asked = world.request_account_sync(&sweep("nightly", 30)).await;
    let report = world.report(&asked.run).await;
    assert_eq!((report.phase, report.created_count), (RunPhase::Done, 200));
    assert!(report.error.unwrap().contains("repeats itself"));
    assert!(world.stripe.lists() <= 6, "{}", world.stripe.lists());
    assert_eq!(world.shop.fulfilled().await, ids(&sold[..200]));
    assert_eq!(world.mark("sessions").await, None);
}
