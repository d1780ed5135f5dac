//! What is refused, and in which words.

use super::{refusal, with, with_file};

/// Why `source` is refused: `VARIABLE=value`, or TOML.
fn why(source: &str) -> String {
    match source.split_once('=') {
        Some((name, value)) if name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') => {
            refusal(with(&[(name, value)]))
        }
        _ => refusal(with_file(source)),
    }
}

/// What is refused, with the whole message.
const REFUSED: &[(&str, &str)] = &[
    (
        "SUREPASS_STRIPE_RATE=fast",
        "SUREPASS_STRIPE_RATE must be a whole number from 1 to 100, and is `fast`",
    ),
    (
        "SUREPASS_STRIPE_RATE=101",
        "SUREPASS_STRIPE_RATE must be a whole number from 1 to 100, and is `101`",
    ),
    (
        "worker.concurrency = 0",
        "development.toml: `worker.concurrency` must be a whole number from 1 to 10000, and is `0`",
    ),
    (
        "queue.sync.weight = 1.5",
        "development.toml: `queue.sync.weight` must be a whole number from 1 to 1000, and is `1.5`",
    ),
    (
        "worker.grace_seconds = -1",
        "development.toml: `worker.grace_seconds` must be a whole number from 0 to 3600 seconds, and is `-1`",
    ),
    (
        "lookback.nightly_days = 0",
        "development.toml: `lookback.nightly_days` must be a whole number from 1 to 400 days, and is `0`",
    ),
    (
        "queue.lease_seconds = []",
        "development.toml: `queue.lease_seconds` must be a string",
    ),
    (
        "queue.backoff_base_ms = 2000\nqueue.backoff_cap_seconds = 1",
        "development.toml: `queue.backoff_base_ms` must not be longer than `queue.backoff_cap_seconds`",
    ),
    (
        "SUREPASS_BIND=localhost",
        "SUREPASS_BIND must be an IP address and a port, such as 127.0.0.1:8080 or [::]:8080, and is `localhost`",
    ),
    (
        "server.bind = ''",
        "development.toml: `server.bind` must be an IP address and a port, such as 127.0.0.1:8080 or [::]:8080, and is empty",
    ),
    (
        "SUREPASS_LOG_FORMAT=xml",
        "SUREPASS_LOG_FORMAT must be `pretty` or `json`, and is `xml`",
    ),
    (
        "database.sqlite_synchronous = 'off'",
        "development.toml: `database.sqlite_synchronous` must be `full` or `normal`, and is `off`",
    ),
    (
        "database.sqlite_synchronous = ''",
        "development.toml: `database.sqlite_synchronous` must be `full` or `normal`, and is empty",
    ),
    (
        "STRIPE_API_BASE=ftp://stripe",
        "STRIPE_API_BASE must be a URL that begins with https:// or http://, and is `ftp://stripe`",
    ),
    (
        "queue.prefix = '{a}'",
        "development.toml: `queue.prefix` must be 1 to 64 lower-case letters, digits, `-` or `_`, and is `{a}`",
    ),
    (
        "lookback.nightly = 'at three'",
        "development.toml: `lookback.nightly` must be five fields of cron (minute hour day month weekday), such as \
             `0 3 * * *` or `*/10 * * * *`, and is `at three`",
    ),
    (
        "lookback.audit = '0 0 30 2 *'",
        "development.toml: `lookback.audit` must be a schedule that comes at some time, and is `0 0 30 2 *`",
    ),
    (
        "lookback.time_zone = 'Oslo'",
        "development.toml: `lookback.time_zone` must be a time zone by its IANA name, such as `UTC` or `Europe/Oslo`, \
             and is `Oslo`",
    ),
    (
        "stripe.webhok_secrets = 'whsec_a'",
        "development.toml: there is no setting `stripe.webhok_secrets`; here it could be one of: api_base, livemode, \
             rate_per_second, secret_key, webhook_secrets",
    ),
    (
        "STRIPE_SECRET_KEY=pk_live_1",
        "STRIPE_SECRET_KEY is a publishable key (pk_…): use a restricted key (rk_…) or the secret key (sk_…) (Dashboard, \
             Developers, API keys)",
    ),
    (
        "SUREPASS_ENV=../etc",
        "SUREPASS_ENV is `../etc`: use letters, digits, `-` and `_`, as in `production`",
    ),
    (
        "SUREPASS_CONFIG=nowhere",
        "SUREPASS_CONFIG asks for nowhere, which is not there: create it, correct SUREPASS_CONFIG, or leave it unset",
    ),
    (
        "SUREPASS_ENV=prodution",
        "SUREPASS_ENV asks for prodution.toml, which is not there: create it, correct SUREPASS_ENV, or leave it unset",
    ),
    (
        "STRIPE_WEBHOOK_SECRET=whsec_first-11,,whsec_second-2",
        "STRIPE_WEBHOOK_SECRET (secret 2 of 3) is empty: set the value, or remove the extra comma",
    ),
    (
        "stripe.webhook_secrets = ['whsec_first-11', ' ']",
        "development.toml: `stripe.webhook_secrets` (secret 2 of 2) is empty: set the value, or remove the extra comma",
    ),
    (
        "stripe.webhook_secrets = ['whsec_first-11', \"'whsec_second-2'\"]",
        "development.toml: `stripe.webhook_secrets` (secret 2 of 2) is in quotes: docker env files keep them; write the \
             value without quotes",
    ),
];

#[test]
fn an_error_names_the_variable_or_the_key_and_says_what_to_do() {
    for (source, message) in REFUSED {
        assert_eq!(why(source), *message);
    }
}

#[test]
fn what_would_let_others_in_as_customers_is_refused() {
    for (sources, told) in [
        (&["jwks_url = 'http://id.example.com/jwks.json'"][..], "https://"),
        (
            &[
                "allowed_origins = ['*']",
                "allowed_origins = ['null']",
                "allowed_origins = ['shop.example.com']",
                "allowed_origins = ['https://shop.example.com/path']",
                "allowed_origins = ['file:///etc']",
                "allowed_origins = ['https://u@x.com']",
                "allowed_origins = 'https://shop.example.com,'",
            ],
            "must hold origins such as",
        ),
        (&["address_header = 'x forwarded'"], "name of a header"),
        (
            &[
                "sign_in_url = 'shop.example.com/sign-in'",
                "sign_in_url = '/sign-in'",
                "sign_in_url = 'javascript:alert(1)'",
                "sign_in_url = 'https://user:s3cr3t@shop.example.com/'",
                "sign_in_url = 'https://shop.example.com/{user}'",
                "sign_in_url = 'https://shop.example.com/?next={return'",
            ],
            "with {tenant} and {return} only",
        ),
    ] {
        for source in sources {
            let message = why(&format!("[customers]\n{source}"));
            assert!(message.contains(told), "{message}");
        }
    }
    for local in [
        "http://localhost:9/k",
        "http://127.1.2.3/k",
        "http://[::1]/k",
        "https://id.example.com/k",
    ] {
        with_file(&format!("customers.jwks_url = '{local}'")).unwrap();
    }
    let settings = with_file("customers.allowed_origins = ['https://shop.example.com/']").unwrap();
    assert_eq!(settings.customers.allowed_origins, ["https://shop.example.com"]);
    let two = "https://shop.example.com, http://127.0.0.1:12112";
    let settings = with(&[("SUREPASS_ALLOWED_ORIGINS", two)]).unwrap();
    let origins = ["https://shop.example.com", "http://127.0.0.1:12112"];
    assert_eq!(settings.customers.allowed_origins, origins);
}

#[test]
fn a_file_that_is_not_toml_is_named_with_the_line() {
    let message = why("[stripe]\nsecret_key = \"a");
    assert!(message.starts_with("development.toml: "), "{message}");
    assert!(message.contains("line 2"), "{message}");
}

#[test]
fn a_schedule_may_be_off() {
    let off = with_file("lookback.nightly = ''\nlookback.time_zone = 'Europe/Oslo'").unwrap();
    assert!(off.lookback.nightly.is_none() && off.lookback.recent.is_some());
    assert_eq!(off.lookback.time_zone.name(), "Europe/Oslo");
}

#[test]
fn a_key_or_secret_that_is_another_one_too_short_or_in_quotes_is_refused() {
    let quoted = "is in quotes: docker env files keep them; write the value without quotes";
    for (source, told) in [
        (
            "STRIPE_WEBHOOK_SECRET=we_1NhPz2Abc",
            "the id of a webhook endpoint",
        ),
        ("STRIPE_WEBHOOK_SECRET=sk_test_abcdefghijklmnop", "is an API key"),
        ("STRIPE_WEBHOOK_SECRET=x", "must begin with whsec_"),
        ("STRIPE_WEBHOOK_SECRET=whsec_short", "is too short"),
        ("STRIPE_WEBHOOK_SECRET=whsec_0123 4567", "has a blank"),
        ("STRIPE_WEBHOOK_SECRET=\"whsec_0123456789abcdef\"", quoted),
        ("STRIPE_WEBHOOK_SECRET='whsec_0123456789abcdef'", quoted),
        (
            "STRIPE_SECRET_KEY=whsec_0123456789abcdef",
            "is a webhook signing secret",
        ),
        (
            "STRIPE_SECRET_KEY=sk_org_live_0123456789",
            "must begin with rk_live_",
        ),
        ("STRIPE_SECRET_KEY=\"sk_live_0123456789\"", quoted),
        ("SUREPASS_JWT_SECRET=a", "is shorter than 32 bytes"),
        ("SUREPASS_JWT_SECRET=\"0123456789abcdef0123456789abcdef\"", quoted),
        ("SUREPASS_ADMIN_TOKEN=a", "is shorter than 24 characters"),
        (
            "SUREPASS_ADMIN_TOKEN=kari:boss:0123456789abcdef01234567",
            "`name:role:token`",
        ),
        ("SUREPASS_ADMIN_TOKEN=\"0123456789abcdef01234567\"", quoted),
        ("SANITY_API_TOKEN=\"sk0123456789\"", quoted),
        ("REDIS_URL=\"redis://127.0.0.1:6379\"", quoted),
        ("DATABASE_URL='sqlite://surepass.db'", quoted),
        ("SUREPASS_ENV=\"production\"", quoted),
    ] {
        let message = why(source);
        let (name, value) = source.split_once('=').unwrap();
        assert!(message.starts_with(name) && message.contains(told), "{message}");
        assert!(value.len() < 5 || !message.contains(value), "{message}");
    }
}
