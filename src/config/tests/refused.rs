//! What is refused, and in which words.

use super::{refusal, with, with_file};

#[test]
fn an_error_names_the_variable_or_the_key_and_says_what_to_do() {
    let cases = [
        (
            refusal(with(&[("SUREPASS_STRIPE_RATE", "fast")])),
            "SUREPASS_STRIPE_RATE must be a whole number, and is `fast`",
        ),
        (
            refusal(with(&[("SUREPASS_STRIPE_RATE", "101")])),
            "SUREPASS_STRIPE_RATE must be from 1 to 100, and is 101",
        ),
        (
            refusal(with(&[("SUREPASS_BIND", "localhost")])),
            "SUREPASS_BIND must be an IP address and a port, such as 127.0.0.1:8080 or [::]:8080, and is `localhost`",
        ),
        (
            refusal(with(&[("SUREPASS_LOG_FORMAT", "xml")])),
            "SUREPASS_LOG_FORMAT must be `pretty` or `json`, and is `xml`",
        ),
        (
            refusal(with(&[("STRIPE_API_BASE", "ftp://stripe")])),
            "STRIPE_API_BASE must be a URL that begins with https:// or http://, and is `ftp://stripe`",
        ),
        (
            refusal(with(&[("STRIPE_SECRET_KEY", "pk_live_1")])),
            "STRIPE_SECRET_KEY is a publishable key (pk_…): use a restricted key (rk_…) or the secret key (sk_…) (Dashboard, \
             Developers, API keys)",
        ),
        (
            refusal(with(&[("SUREPASS_ENV", "../etc")])),
            "SUREPASS_ENV is `../etc`: use letters, digits, `-` and `_`, as in `production`",
        ),
        (
            refusal(with(&[("SUREPASS_CONFIG", "nowhere")])),
            "SUREPASS_CONFIG asks for nowhere, which is not there: create it, correct SUREPASS_CONFIG, or leave it unset",
        ),
        (
            refusal(with_file("[worker]\nconcurrency = 0")),
            "development.toml: `worker.concurrency` must be from 1 to 10000, and is 0",
        ),
        (
            refusal(with_file("[worker]\ngrace_seconds = -1")),
            "development.toml: `worker.grace_seconds` must not be negative, and is -1",
        ),
        (
            refusal(with_file("[database]\nsqlite_synchronous = \"off\"")),
            "development.toml: `database.sqlite_synchronous` must be `full` or `normal`, and is `off`",
        ),
        (
            refusal(with_file("[queue]\nprefix = \"{a}\"")),
            "development.toml: `queue.prefix` must be 1 to 64 lower-case letters, digits, `-` or `_`, and is `{a}`",
        ),
        (
            refusal(with_file(
                "[queue]\nbackoff_base_ms = 2000\nbackoff_cap_seconds = 1",
            )),
            "development.toml: `queue.backoff_base_ms` must not be longer than `queue.backoff_cap_seconds`",
        ),
        (
            refusal(with_file("[stripe]\nwebhok_secrets = \"whsec_a\"")),
            "development.toml: there is no setting `stripe.webhok_secrets`; here it could be one of: api_base, livemode, \
             rate_per_second, secret_key, webhook_secrets",
        ),
    ];
    for (told, message) in cases {
        assert_eq!(told, message);
    }
}

#[test]
fn an_environment_that_is_asked_for_must_have_its_file() {
    let message = with(&[("SUREPASS_ENV", "prodution")]).unwrap_err().to_string();
    assert!(
        message.contains("prodution.toml, which is not there"),
        "{message}"
    );
}

#[test]
fn what_would_let_others_in_as_customers_is_refused() {
    let problem = |line: &str| {
        with_file(&format!("[customers]\n{line}"))
            .unwrap_err()
            .to_string()
    };
    let plain = problem("jwks_url = \"http://id.example.com/jwks.json\"");
    assert!(plain.contains("https://"), "{plain}");
    for local in [
        "http://localhost:9/k",
        "http://127.1.2.3/k",
        "http://[::1]/k",
        "https://id.example.com/k",
    ] {
        with_file(&format!("[customers]\njwks_url = \"{local}\"")).unwrap();
    }
    for odd in [
        "*",
        "null",
        "shop.example.com",
        "https://shop.example.com/path",
        "file:///etc",
        "https://u@x.com",
    ] {
        let problem = problem(&format!("allowed_origins = [\"{odd}\"]"));
        assert!(problem.contains("origins such as"), "{problem}");
    }
    let settings = with_file("[customers]\nallowed_origins = [\"https://shop.example.com/\"]").unwrap();
    assert_eq!(settings.customers.allowed_origins, ["https://shop.example.com"]);
    let two = "https://shop.example.com, http://127.0.0.1:12112";
    let settings = with(&[("SUREPASS_ALLOWED_ORIGINS", two)]).unwrap();
    assert_eq!(
        settings.customers.allowed_origins,
        ["https://shop.example.com", "http://127.0.0.1:12112"]
    );
    let refused = refusal(with(&[("SUREPASS_ALLOWED_ORIGINS", "https://shop.example.com,")]));
    assert!(
        refused.starts_with("SUREPASS_ALLOWED_ORIGINS must hold origins"),
        "{refused}"
    );
    assert!(problem("address_header = \"x forwarded\"").contains("name of a header"));
    for odd in [
        "shop.example.com/sign-in",
        "/sign-in",
        "javascript:alert(1)",
        "https://user:s3cr3t@shop.example.com/",
        "https://shop.example.com/{user}",
        "https://shop.example.com/?next={return",
    ] {
        let problem = problem(&format!("sign_in_url = \"{odd}\""));
        assert!(problem.contains("with {tenant} and {return} only"), "{problem}");
    }
}

#[test]
fn a_file_that_is_not_toml_is_named_with_the_line() {
    let message = refusal(with_file("[stripe]\nsecret_key = \"a"));
    assert!(message.starts_with("development.toml: "), "{message}");
    assert!(message.contains("line 2"), "{message}");
}

#[test]
fn a_wrong_value_of_one_queue_is_told_with_its_file_and_key() {
    let told = refusal(with_file("[queue.sync]\nweight = 0\n"));
    assert_eq!(
        told,
        "development.toml: `queue.sync.weight` must be from 1 to 1000, and is 0"
    );
}

#[test]
fn a_schedule_may_be_off_and_what_is_none_is_refused() {
    let off = with_file("[lookback]\nnightly = \"\"\ntime_zone = \"Europe/Oslo\"\n").unwrap();
    assert!(off.lookback.nightly.is_none() && off.lookback.recent.is_some());
    assert_eq!(off.lookback.time_zone.name(), "Europe/Oslo");
    for (text, told) in [
        (
            "nightly = \"at three\"",
            "`lookback.nightly` must be five fields of cron (minute hour day month weekday), such as `0 3 * * *` or \
             `*/10 * * * *`, and is `at three`",
        ),
        (
            "audit = \"0 0 30 2 *\"",
            "`lookback.audit` must be a schedule that comes at some time, and is `0 0 30 2 *`",
        ),
        (
            "time_zone = \"Oslo\"",
            "`lookback.time_zone` must be a time zone by its IANA name, such as `UTC` or `Europe/Oslo`, and is `Oslo`",
        ),
        (
            "nightly_days = 0",
            "`lookback.nightly_days` must be from 1 to 400, and is 0",
        ),
    ] {
        let message = with_file(&format!("[lookback]\n{text}\n"))
            .unwrap_err()
            .to_string();
        assert!(message.ends_with(told), "{message}");
    }
}

#[test]
fn a_value_in_quotes_is_refused_by_name_and_with_the_likely_cause() {
    for (name, value) in [
        ("STRIPE_WEBHOOK_SECRET", "\"whsec_0123456789abcdef\""),
        ("STRIPE_WEBHOOK_SECRET", "'whsec_0123456789abcdef'"),
        ("STRIPE_SECRET_KEY", "\"sk_live_0123456789\""),
        ("SUREPASS_JWT_SECRET", "\"0123456789abcdef0123456789abcdef\""),
        ("SUREPASS_ADMIN_TOKEN", "\"0123456789abcdef01234567\""),
        ("SANITY_API_TOKEN", "\"sk0123456789\""),
        ("REDIS_URL", "\"redis://127.0.0.1:6379\""),
        ("DATABASE_URL", "'sqlite://surepass.db'"),
        ("SUREPASS_ENV", "\"production\""),
    ] {
        assert_eq!(
            refusal(with(&[(name, value)])),
            format!("{name} is in quotes: docker env files keep them; write the value without quotes"),
        );
    }
    assert_eq!(
        refusal(with_file(
            "[stripe]\nwebhook_secrets = [\"whsec_first-11\", \"'whsec_second-2'\"]"
        )),
        "development.toml: `stripe.webhook_secrets` (secret 2 of 2) is in quotes: docker env files keep them; write the value \
         without quotes",
    );
}

#[test]
fn a_key_or_secret_that_is_another_one_or_too_short_is_refused() {
    for (name, value, told) in [
        (
            "STRIPE_WEBHOOK_SECRET",
            "we_1NhPz2Abc",
            "the id of a webhook endpoint",
        ),
        (
            "STRIPE_WEBHOOK_SECRET",
            "sk_test_abcdefghijklmnop",
            "is an API key",
        ),
        ("STRIPE_WEBHOOK_SECRET", "x", "must begin with whsec_"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_short", "is too short"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_0123 4567", "has a blank"),
        (
            "STRIPE_SECRET_KEY",
            "whsec_0123456789abcdef",
            "is a webhook signing secret",
        ),
        (
            "STRIPE_SECRET_KEY",
            "sk_org_live_0123456789",
            "must begin with rk_live_",
        ),
        ("SUREPASS_JWT_SECRET", "a", "is shorter than 32 bytes"),
        ("SUREPASS_ADMIN_TOKEN", "a", "is shorter than 24 characters"),
        (
            "SUREPASS_ADMIN_TOKEN",
            "kari:boss:0123456789abcdef01234567",
            "`name:role:token`",
        ),
    ] {
        let message = refusal(with(&[(name, value)]));
        assert!(message.starts_with(name) && message.contains(told), "{message}");
        assert!(value.len() < 5 || !message.contains(value), "{message}");
    }
}
