//! Tenants and passes.

use secrecy::SecretString;
use surepass::store::{Imported, Pass, StoreError, UnmatchedPolicy, Validity};

use crate::support::home::Home;
use crate::support::purchases::{nok, tenant};

contract!(
    importing_the_same_catalogue_twice_changes_nothing,
    an_import_that_takes_another_tenants_slug_or_account_changes_nothing,
);

fn pass(id: &str) -> Pass {
    Pass {
        id: id.to_owned(),
        name: "10 classes".to_owned(),
        kind: "multi".to_owned(),
        classes_limit: Some(10),
        price: nok(150_000),
        validity: Validity {
            kind: Some("date".to_owned()),
            days: None,
            expiry: Some("2027-06-30".parse().unwrap()),
        },
        stripe_price_ids: vec!["price_1".to_owned()],
        is_active: true,
    }
}

async fn importing_the_same_catalogue_twice_changes_nothing(home: Home) {
    let store = home.open().await;
    store.migrate().await.unwrap();
    let mut studio = tenant("studio");
    studio.webhook_secrets = vec![SecretString::from("whsec_1"), SecretString::from("whsec_2")];
    studio.stripe_account = Some("acct_1".to_owned());
    studio.contact.support_email = Some("hello@studio.example".to_owned());
    studio.contact.support_url = Some("https://studio.example/help".to_owned());
    studio.contact.shop_url = Some("https://studio.example/".to_owned());
    studio.unmatched = UnmatchedPolicy::Ignore;
    studio.passes = vec![pass("pass-1"), pass("pass-2")];
    let catalogue = [studio.clone(), tenant("other")];
    let first = Imported {
        tenants_created: 2,
        passes_created: 2,
        ..Imported::default()
    };
    assert_eq!(store.import(&catalogue).await.unwrap(), first);
    assert_eq!(
        store.import(&catalogue).await.unwrap(),
        Imported {
            unchanged: 4,
            ..Imported::default()
        }
    );

    studio.name = "Studio Two".into();
    studio.passes = vec![Pass {
        is_active: false,
        ..pass("pass-2")
    }];
    let changed = Imported {
        tenants_updated: 1,
        passes_updated: 1,
        ..Imported::default()
    };
    assert_eq!(store.import(&[studio]).await.unwrap(), changed);
    let held = store.tenants().await.unwrap();
    let slugs: Vec<_> = held.iter().map(|tenant| tenant.slug.as_str()).collect();
    assert_eq!(slugs, ["other", "studio"]);
    assert_eq!(held[1].name, "Studio Two");
    assert_eq!(held[1].webhook_secrets.len(), 2);
    assert_eq!(
        held[1].passes,
        [
            pass("pass-1"),
            Pass {
                is_active: false,
                ..pass("pass-2")
            }
        ],
        "the first is kept"
    );
}

async fn an_import_that_takes_another_tenants_slug_or_account_changes_nothing(home: Home) {
    let store = home.ready().await;
    let mut studio = tenant("studio");
    studio.stripe_account = Some("acct_1".to_owned());
    store.import(&[studio]).await.unwrap();
    let mut thief = tenant("thief");
    thief.slug = "studio".into();
    let refused = store.import(&[tenant("third"), thief]).await.unwrap_err();
    let slug = "tenant `tenant-thief`: the slug `studio` belongs to tenant `tenant-studio`";
    assert_eq!(refused, StoreError::Conflict(slug.to_owned()));
    let mut thief = tenant("thief");
    thief.stripe_account = Some("acct_1".to_owned());
    let refused = store.import(&[tenant("third"), thief]).await.unwrap_err();
    let account = "tenant `tenant-thief`: the Stripe account `acct_1` belongs to tenant `tenant-studio`";
    assert_eq!(refused, StoreError::Conflict(account.to_owned()));
    assert_eq!(store.tenants().await.unwrap().len(), 2);
}
