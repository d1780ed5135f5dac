//! Tenants and passes.

use secrecy::{ExposeSecret, SecretString};
use surepass::store::{
    Imported, KnownTenant, Pass, PassKeys, StoreError, UnmatchedPolicy, Validity, WebhookSecrets,
};

use support::home::Home;
use support::purchases::{nok, tenant};

contract!(
    importing_the_same_catalog_twice_changes_nothing,
    an_import_that_takes_another_tenants_slug_or_account_changes_nothing,
    secrets_that_an_import_does_not_name_are_kept_and_only_those_asked_for_are_read,
    a_tenant_is_read_alone_and_the_keys_of_all_passes_in_pages,
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

async fn importing_the_same_catalog_twice_changes_nothing(home: Home) {
    let store = home.open().await;
    store.migrate().await.unwrap();
    let mut studio = tenant("studio");
    studio.stripe_account = Some("acct_1".to_owned());
    studio.contact.support_email = Some("hello@studio.example".to_owned());
    studio.contact.support_url = Some("https://studio.example/help".to_owned());
    studio.contact.shop_url = Some("https://studio.example/".to_owned());
    studio.unmatched = UnmatchedPolicy::Ignore;
    studio.passes = vec![pass("pass-1"), pass("pass-2")];
    let catalog = [studio.clone(), tenant("other")];
    let first = Imported {
        tenants_created: 2,
        passes_created: 2,
        ..Imported::default()
    };
    assert_eq!(
        store
            .catalog()
            .import(&catalog, &WebhookSecrets::new())
            .await
            .unwrap(),
        first
    );
    assert_eq!(
        store
            .catalog()
            .import(&catalog, &WebhookSecrets::new())
            .await
            .unwrap(),
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
    assert_eq!(
        store
            .catalog()
            .import(&[studio], &WebhookSecrets::new())
            .await
            .unwrap(),
        changed
    );
    let held = store.catalog().all().await.unwrap();
    let slugs: Vec<_> = held.iter().map(|tenant| tenant.slug.as_str()).collect();
    assert_eq!(slugs, ["other", "studio"]);
    assert_eq!(held[1].name, "Studio Two");
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
    store
        .catalog()
        .import(&[studio], &WebhookSecrets::new())
        .await
        .unwrap();
    let mut thief = tenant("thief");
    thief.slug = "studio".into();
    let refused = store
        .catalog()
        .import(&[tenant("third"), thief], &WebhookSecrets::new())
        .await
        .unwrap_err();
    let slug = "tenant `tenant-thief`: the slug `studio` belongs to tenant `tenant-studio`";
    assert_eq!(refused, StoreError::Conflict(slug.to_owned()));
    let mut thief = tenant("thief");
    thief.stripe_account = Some("acct_1".to_owned());
    let refused = store
        .catalog()
        .import(&[tenant("third"), thief], &WebhookSecrets::new())
        .await
        .unwrap_err();
    let account = "tenant `tenant-thief`: the Stripe account `acct_1` belongs to tenant `tenant-studio`";
    assert_eq!(refused, StoreError::Conflict(account.to_owned()));
    assert_eq!(store.catalog().all().await.unwrap().len(), 2);
}

async fn secrets_that_an_import_does_not_name_are_kept_and_only_those_asked_for_are_read(home: Home) {
    let store = home.ready().await;
    let secrets = |studio: &[&str]| {
        let own = studio.iter().map(|secret| SecretString::from(*secret)).collect();
        WebhookSecrets::from([("tenant-studio".to_owned(), own)])
    };
    let catalog = [tenant("studio"), tenant("other")];
    let updated = Imported {
        tenants_updated: 1,
        unchanged: 1,
        ..Imported::default()
    };
    let unchanged = Imported {
        unchanged: 2,
        ..Imported::default()
    };
    let named = secrets(&["whsec_1", "whsec_2"]);
    assert_eq!(store.catalog().import(&catalog, &named).await.unwrap(), updated);
    assert_eq!(store.catalog().import(&catalog, &named).await.unwrap(), unchanged);
    assert_eq!(
        store
            .catalog()
            .import(&catalog, &WebhookSecrets::new())
            .await
            .unwrap(),
        unchanged
    );
    let mut renamed = tenant("studio");
    renamed.name = "Renamed".into();
    store
        .catalog()
        .import(&[renamed, tenant("other")], &WebhookSecrets::new())
        .await
        .unwrap();

    let held = async |ids: Option<&[&str]>| {
        let secrets = store.catalog().webhook_secrets(ids).await.unwrap();
        let exposed = |secrets: Vec<SecretString>| -> Vec<String> {
            secrets
                .iter()
                .map(|secret| secret.expose_secret().to_owned())
                .collect()
        };
        let mut held: Vec<_> = secrets.into_iter().map(|(id, own)| (id, exposed(own))).collect();
        held.sort();
        held
    };
    let studio = (
        "tenant-studio".to_owned(),
        vec!["whsec_1".to_owned(), "whsec_2".to_owned()],
    );
    let other = ("tenant-other".to_owned(), vec![]);
    assert_eq!(held(None).await, [other, studio.clone()]);
    assert_eq!(held(Some(&["tenant-studio", "nobody"])).await, [studio]);
    assert_eq!(held(Some(&[])).await, []);

    store
        .catalog()
        .import(&[tenant("studio")], &secrets(&[]))
        .await
        .unwrap();
    assert_eq!(
        held(Some(&["tenant-studio"])).await,
        [("tenant-studio".to_owned(), vec![])]
    );
}

async fn a_tenant_is_read_alone_and_the_keys_of_all_passes_in_pages(home: Home) {
    let store = home.ready().await;
    let mut studio = tenant("studio");
    studio.stripe_account = Some("acct_1".to_owned());
    studio.passes = vec![pass("pass-1"), pass("pass-2")];
    let mut other = tenant("other");
    other.passes = vec![pass("pass-1")];
    store
        .catalog()
        .import(&[studio.clone(), other.clone()], &WebhookSecrets::new())
        .await
        .unwrap();
    assert_eq!(
        store.catalog().one("tenant-studio").await.unwrap(),
        Some(studio.clone())
    );
    assert_eq!(
        store.catalog().one("studio").await.unwrap(),
        None,
        "a slug is no id"
    );
    let known = [KnownTenant::of(&other), KnownTenant::of(&studio)];
    assert_eq!(store.catalog().known().await.unwrap(), known);

    let keys = |tenant: &str, id: &str| PassKeys {
        tenant: tenant.to_owned(),
        id: id.to_owned(),
        name: "10 classes".to_owned(),
        stripe_price_ids: vec!["price_1".to_owned()],
    };
    let all = [
        keys("tenant-other", "pass-1"),
        keys("tenant-studio", "pass-1"),
        keys("tenant-studio", "pass-2"),
    ];
    let mut last = None;
    for one in &all {
        let page = store.catalog().pass_keys(last.as_ref(), 1).await.unwrap();
        assert_eq!(page, std::slice::from_ref(one));
        last = page.into_iter().next();
    }
    assert_eq!(store.catalog().pass_keys(last.as_ref(), 1).await.unwrap(), []);
    assert_eq!(store.catalog().pass_keys(None, 10).await.unwrap(), all);
}
