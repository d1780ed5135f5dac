//! The live stream, and what carries the page where there is none.

use serde_json::json;

use crate::chromium::bad_proxy::{Manner, Wire};
use crate::chromium::fixture::{Fixture, SUCCESS};

/// Proxies between, of which some cut what stays open and others keep it until it ends.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_live_stream_is_cut_or_held_back_polling_takes_over() {
    for manner in [Manner::CutsStreams, Manner::HoldsStreams] {
        let mut studio = Fixture::prepare("").await;
        let wire = Wire::start(studio.address, manner).await;
        let page = format!("{}/studio/subscriptions", wire.origin());
        let tab = studio.browser_of("kari").await;
        let checkout = studio.checkout_at(&page, "kari").await;
        tab.pays(&checkout).await;
        tab.counts_to(2).await;
        wire.met_a_stream().await;
        studio.shop.start_worker().await;
        tab.hears(SUCCESS).await;
        tab.sees("#passes li").await;
        assert_eq!(studio.shop.fulfilled().await, [checkout.session]);
        tab.was_calm_but(&[
            "net::ERR_EMPTY_RESPONSE",
            "net::ERR_CONNECTION",
            "net::ERR_INCOMPLETE",
        ])
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_server_is_started_again_meanwhile_the_page_goes_on_waiting() {
    let mut studio = Fixture::prepare("").await;
    let tab = studio.browser_of("kari").await;
    let checkout = studio.checkout("kari").await;
    tab.pays(&checkout).await;
    tab.counts_to(2).await;
    studio.stop_server().await;
    tab.counts_to(4).await;
    studio.shop.start_server().await;
    studio.shop.start_worker().await;
    tab.hears(SUCCESS).await;
    tab.sees("#passes li").await;
    assert_eq!(studio.shop.fulfilled().await, [checkout.session]);
    tab.was_calm_but(&["net::ERR_"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_has_lost_its_network_sees_the_pass_when_it_is_back() {
    let mut studio = Fixture::prepare("").await;
    let wire = Wire::start(studio.address, Manner::Carries).await;
    let page = format!("{}/studio/subscriptions", wire.origin());
    let tab = studio.browser_of("kari").await;
    let checkout = studio.checkout_at(&page, "kari").await;
    tab.pays(&checkout).await;
    tab.counts_to(2).await;
    // A browser that is told to be offline goes on with what is open.
    tab.does("context.setOffline", json!([true])).await;
    wire.is_down(true);
    studio.shop.start_worker().await;
    studio.shop.worked_off().await;
    tab.counts_to(4).await;
    wire.is_down(false);
    tab.does("context.setOffline", json!([false])).await;
    tab.hears(SUCCESS).await;
    tab.sees("#passes li").await;
    assert_eq!(studio.shop.fulfilled().await, [checkout.session]);
    tab.was_calm_but(&["net::ERR_"]).await;
}

/// Polling asks every two seconds: with its answers held back, only the stream can have told.
#[tokio::test(flavor = "multi_thread")]
async fn the_live_stream_alone_tells_the_page_of_its_pass() {
    let mut studio = Fixture::prepare("").await;
    let wire = Wire::start(studio.address, Manner::HoldsPolls).await;
    let page = format!("{}/studio/subscriptions", wire.origin());
    let tab = studio.browser_of("kari").await;
    let checkout = studio.checkout_at(&page, "kari").await;
    tab.pays(&checkout).await;
    wire.met_a_stream().await;
    studio.shop.start_worker().await;
    tab.hears(SUCCESS).await;
    tab.sees("#passes li").await;
    tab.was_calm().await;
}
