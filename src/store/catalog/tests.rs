use super::*;

mod files;

fn example() -> Value {
    json!({"tenants": [{
        "id": "tenant-1", "slug": "studio", "name": "Studio One", "timeZone": "Europe/Oslo", "color": "#3B82F6",
        "webhookSecrets": ["whsec_one-of-them"], "stripeAccount": "acct_1", "supportEmail": "hello@studio.example",
        "supportUrl": "https://studio.example/help", "shopUrl": "https://studio.example/", "unmatched": "ignore",
        "passes": [{
            "id": "pass-10", "name": "10 classes", "type": "multi", "classesLimit": 10, "price": 150_000,
            "currency": "nok", "validityType": "days", "validityDays": 90, "expiryDate": null,
            "stripePriceIds": ["price_1"], "isActive": true
        }]
    }]})
}

/// The example with one field set; `path` is a JSON pointer to its object.
fn with(path: &str, field: &str, value: Value) -> String {
    let mut document = example();
    document.pointer_mut(path).unwrap()[field] = value;
    document.to_string()
}

const TENANT: &str = "/tenants/0";
const PASS: &str = "/tenants/0/passes/0";

#[test]
fn the_example_of_the_contract_is_read_and_listed_without_its_secrets() {
    let catalog = Catalog::parse(&example().to_string()).unwrap();
    assert_eq!(catalog.warnings, Vec::<String>::new());
    let mut expected = example();
    let tenant = expected.pointer_mut(TENANT).unwrap().as_object_mut().unwrap();
    tenant.remove("webhookSecrets");
    tenant.insert("webhookSecretsCount".to_owned(), json!(1));
    assert_eq!(to_json(&catalog.tenants, &catalog.secrets), expected);
    assert!(!format!("{catalog:?}").contains("whsec_one-of-them"));
}

#[test]
fn toml_with_the_same_keys_is_read_alike() {
    let toml = r##"
        [[tenants]]
        id = "tenant-1"
        slug = "studio"
        name = "Studio One"
        timeZone = "Europe/Oslo"
        color = "#3B82F6"
        webhookSecrets = ["whsec_one-of-them"]
        stripeAccount = "acct_1"
        supportEmail = "hello@studio.example"
        supportUrl = "https://studio.example/help"
        shopUrl = "https://studio.example/"
        unmatched = "ignore"
        [[tenants.passes]]
        id = "pass-10"
        name = "10 classes"
        type = "multi"
        classesLimit = 10
        price = 150_000
        currency = "nok"
        validityType = "days"
        validityDays = 90
        stripePriceIds = ["price_1"]
    "##;
    let json = Catalog::parse(&example().to_string()).unwrap();
    let parsed = Catalog::parse(toml).unwrap();
    assert_eq!(
        to_json(&parsed.tenants, &parsed.secrets),
        to_json(&json.tenants, &json.secrets)
    );
    let dated = toml
        .replace("validityType = \"days\"", "validityType = \"date\"")
        .replace("validityDays = 90", "expiryDate = 2027-06-30");
    let expiry = Catalog::parse(&dated).unwrap().tenants[0].passes[0]
        .validity
        .expiry;
    assert_eq!(expiry, Some("2027-06-30".parse().unwrap()));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn every_bad_field_is_refused_with_its_tenant_and_pass() {
    let pass = "tenant `tenant-1`, pass `pass-10`";
    let cases = [
        (TENANT, "id", json!(""), "tenant 1: `id`: it is empty".to_owned()),
        (
            TENANT,
            "supportEmail",
            json!("a@b?cc=c@d"),
            "tenant `tenant-1`: `supportEmail`: expected an email address".to_owned(),
        ),
        (
            TENANT,
            "supportUrl",
            json!("javascript:alert(1)"),
            "tenant `tenant-1`: `supportUrl`: expected an address that begins with https://".to_owned(),
        ),
        (
            TENANT,
            "shopUrl",
            json!("studio.example"),
            "tenant `tenant-1`: `shopUrl`: expected an address that begins with https://".to_owned(),
        ),
        (
            TENANT,
            "unmatched",
            json!("drop"),
            "tenant `tenant-1`: `unmatched`: expected `park` or `ignore`".to_owned(),
        ),
        (
            TENANT,
            "slug",
            json!("Studio"),
            "tenant `tenant-1`: `slug`: expected at most 63 of a-z, 0-9 and -".into(),
        ),
        (
            TENANT,
            "slug",
            json!("a".repeat(64)),
            "tenant `tenant-1`: `slug`: expected at most 63 of a-z, 0-9 and -".into(),
        ),
        (
            TENANT,
            "timeZone",
            json!("Oslo"),
            "tenant `tenant-1`: `timeZone`: `Oslo` is not in the IANA time zone database (Europe/Oslo is)"
                .into(),
        ),
        (
            TENANT,
            "color",
            json!("blue"),
            "tenant `tenant-1`: `color`: expected #RRGGBB".into(),
        ),
        (
            TENANT,
            "webhookSecrets",
            json!(["sk_live_x"]),
            "tenant `tenant-1`: `webhookSecrets`: secret 1 is an API key (sk_…, rk_… or pk_…): use the endpoint's signing secret (whsec_…) (Dashboard, Developers, Webhooks, the endpoint)".into(),
        ),
        (
            TENANT,
            "webhookSecrets",
            json!("whsec_x"),
            "tenant `tenant-1`: `webhookSecrets`: expected a list, found a text".into(),
        ),
        (
            TENANT,
            "stripeAccount",
            json!("cus_1"),
            "tenant `tenant-1`: `stripeAccount`: the id of a connected account begins with `acct_`".into(),
        ),
        (
            TENANT,
            "passes",
            json!([7]),
            "tenant `tenant-1`, pass 1: expected a table of fields, found a number".into(),
        ),
        (
            PASS,
            "name",
            Value::Null,
            format!("{pass}: `name`: it is missing"),
        ),
        (
            PASS,
            "price",
            json!(-1),
            format!("{pass}: `price`: -1 is too little: at least 0"),
        ),
        (
            PASS,
            "price",
            json!("150000"),
            format!("{pass}: `price`: expected a whole number, found a text"),
        ),
        (
            PASS,
            "price",
            json!(1500.5),
            format!("{pass}: `price`: expected a whole number, found a number"),
        ),
        (
            PASS,
            "currency",
            json!("xyz"),
            format!("{pass}: `currency`: `xyz` is not in ISO 4217"),
        ),
        (
            PASS,
            "currency",
            json!("kr"),
            format!("{pass}: `currency`: `kr` is not in ISO 4217"),
        ),
        (
            PASS,
            "classesLimit",
            json!(0),
            format!("{pass}: `classesLimit`: 0 is too little: at least 1"),
        ),
        (
            PASS,
            "validityType",
            json!("weeks"),
            format!("{pass}: `validityType`: expected `days` or `date`"),
        ),
        (
            PASS,
            "validityDays",
            json!(0),
            format!("{pass}: `validityDays`: 0 is too little: at least 1"),
        ),
        (
            PASS,
            "expiryDate",
            json!("30.06.2027"),
            format!(
                "{pass}: `expiryDate`: expected a date (2027-06-30) or an RFC 3339 instant (2027-06-30T21:59:59Z)"
            ),
        ),
        (
            PASS,
            "expiryDate",
            json!("2027-02-29"),
            format!(
                "{pass}: `expiryDate`: expected a date (2027-06-30) or an RFC 3339 instant (2027-06-30T21:59:59Z)"
            ),
        ),
        (
            PASS,
            "type",
            json!("subscription"),
            format!("{pass}: `type`: `subscription` is none of single, multi-pass, multi, unlimited"),
        ),
        (
            PASS,
            "validityDays",
            Value::Null,
            format!(
                "{pass}: `validityDays`: it is missing: nothing says when the pass ends (`validityDays`, or `validityType` \
                 `date` with `expiryDate`)"
            ),
        ),
        (
            PASS,
            "classesLimit",
            Value::Null,
            format!("{pass}: `classesLimit`: it is missing: a pass of type `multi` has a number of classes"),
        ),
        (
            PASS,
            "isActive",
            json!("yes"),
            format!("{pass}: `isActive`: expected true or false, found a text"),
        ),
    ];
    for (path, field, value, expected) in cases {
        let refused = Catalog::parse(&with(path, field, value.clone())).unwrap_err();
        assert_eq!(refused.to_string(), expected, "{field} = {value}");
    }
}

#[test]
fn what_is_in_the_file_twice_is_refused() {
    let twice = |change: fn(&mut Value)| {
        let mut document = example();
        let mut second = document["tenants"][0].clone();
        for (field, value) in [("id", "tenant-2"), ("slug", "other"), ("stripeAccount", "acct_2")] {
            second[field] = json!(value);
        }
        change(&mut second);
        document["tenants"].as_array_mut().unwrap().push(second);
        Catalog::parse(&document.to_string())
            .map(|catalog| catalog.tenants.len())
            .map_err(|error| error.to_string())
    };
    assert_eq!(twice(|_| ()), Ok(2));
    assert_eq!(
        twice(|second| second["id"] = json!("tenant-1")),
        Err("tenant `tenant-1`: `id` `tenant-1` is in the file twice".to_owned())
    );
    assert_eq!(
        twice(|second| second["slug"] = json!("studio")),
        Err("tenant `tenant-2`: `slug` `studio` is in the file twice".to_owned())
    );
    assert_eq!(
        twice(|second| second["stripeAccount"] = json!("acct_1")),
        Err("tenant `tenant-2`: `stripeAccount` `acct_1` is in the file twice".to_owned())
    );
    assert_eq!(
        twice(|second| {
            let pass = second["passes"][0].clone();
            second["passes"].as_array_mut().unwrap().push(pass);
        }),
        Err("tenant `tenant-2`, pass `pass-10`: its `id` is there twice".to_owned())
    );
}

#[test]
fn what_is_likely_a_mistake_is_warned_of() {
    let warnings = |path, field, value| Catalog::parse(&with(path, field, value)).unwrap().warnings;
    let pass = "tenant `tenant-1`, pass `pass-10`";
    assert_eq!(
        warnings(PASS, "validitydays", json!(3)),
        [format!(
            "{pass}: the field `validitydays` is not known and was left out"
        )]
    );
}

#[test]
fn what_two_endpoints_of_one_account_both_sell_is_warned_of() {
    let warned = |account: Value, secrets: Value| {
        let mut document = example();
        document["tenants"][0]["stripeAccount"] = Value::Null;
        let mut second = document["tenants"][0].clone();
        second["id"] = json!("tenant-2");
        second["slug"] = json!("yoga");
        second["stripeAccount"] = account;
        second["webhookSecrets"] = secrets;
        document["tenants"].as_array_mut().unwrap().push(second);
        Catalog::parse(&document.to_string()).unwrap().warnings
    };
    let warnings = warned(Value::Null, json!(["whsec_another-one"]));
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].starts_with(
            "tenants `tenant-1` and `tenant-2` share a Stripe account, and passes of both have the Stripe price `price_1`: put \
             `tenantId` into the metadata"
        ),
        "{warnings:?}"
    );
    assert!(warnings[1].contains("have the name `10 classes`"), "{warnings:?}");
    // Another account, or no endpoint of its own: events of one never come in by the other's.
    for (account, secrets) in [
        (json!("acct_2"), json!(["whsec_another-one"])),
        (Value::Null, json!([])),
    ] {
        assert_eq!(warned(account, secrets), Vec::<String>::new());
    }
}
