use std::collections::HashMap;
use std::fs;

use tempfile::TempDir;

use super::*;

/// Settings from these variables alone, with an empty folder of files.
fn with(variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    from(&tempfile::tempdir().unwrap(), variables)
}

fn from(folder: &TempDir, variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let mut variables: HashMap<_, _> = variables.iter().copied().collect();
    let folder = folder.path().to_str().unwrap().to_owned();
    variables.entry("SUREPASS_CONFIG").or_insert(&folder);
    Settings::load_from(|name| variables.get(name).map(|&value| value.to_owned()))
}

/// Settings from one file, `development.toml`.
fn with_file(text: &str) -> Result<Settings, ConfigError> {
    from(&folder(&[("development.toml", text)]), &[])
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// The message without the folder's random name.
fn refusal(result: Result<Settings, ConfigError>) -> String {
    let message = result.unwrap_err().to_string();
    message
        .rsplit('/')
        .next()
        .filter(|_| message.starts_with('/'))
        .unwrap_or(&message)
        .to_owned()
}

fn exposed(secret: Option<SecretString>) -> Option<String> {
    secret.map(|secret| secret.expose_secret().to_owned())
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let settings = with(&[]).unwrap();
    assert_eq!(
        settings.redis.url_or_default().expose_secret(),
        "redis://127.0.0.1:6379"
    );
    assert_eq!(
        settings.database.url_or_default().expose_secret(),
        "sqlite://surepass.db"
    );
    assert!(settings.redis.url.is_none() && settings.database.url.is_none());
    assert!(settings.stripe.secret_key.is_none() && settings.stripe.webhook_secrets.is_empty());
    assert_eq!(settings.stripe.api_base.as_str(), "https://api.stripe.com/");
    assert_eq!(settings.stripe.rate_per_second, 20);
    assert_eq!(settings.server.bind.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.server.max_body_bytes, 1 << 20);
    assert_eq!(settings.server.redis_timeout, Duration::from_secs(2));
    assert_eq!(
        settings.server.signature_tolerance,
        crate::stripe::signature::DEFAULT_TOLERANCE
    );
    assert_eq!(settings.server.workers, None);
    assert_eq!(settings.worker.metrics_bind.to_string(), "127.0.0.1:9464");
    assert_eq!(settings.worker.grace, Duration::from_secs(25));
    assert_eq!(settings.queue.max_attempts, 16);
    assert_eq!(settings.queue.backoff_base, Duration::from_secs(1));
    assert_eq!(settings.queue.backoff_cap, Duration::from_mins(10));
    assert_eq!(settings.queue.max_crashes, 3);
    assert_eq!(settings.queue.event_dedupe, Duration::from_hours(35 * 24));
    assert_eq!(settings.queue.keep_dead, Duration::from_hours(30 * 24));
    let lookback = &settings.lookback;
    let set = |schedule: &Option<crate::schedule::Schedule>| schedule.as_ref().map(ToString::to_string);
    assert_eq!(lookback.time_zone, chrono_tz::UTC);
    assert_eq!(set(&lookback.nightly).as_deref(), Some("0 3 * * *"));
    assert_eq!(lookback.nightly_window, Duration::from_hours(30 * 24));
    assert_eq!(set(&lookback.recent).as_deref(), Some("*/10 * * * *"));
    assert_eq!(lookback.recent_window, Duration::from_hours(3));
    assert_eq!(set(&lookback.audit).as_deref(), Some("0 * * * *"));
    assert_eq!(settings.server.public_url, None);
    assert_eq!(settings.sanity.version, "2023-05-03");
    assert_eq!(settings.data_dir, PathBuf::from("data"));
    assert_eq!(settings.log.filter, "info");
    assert_eq!(settings.log.format, None);
}

#[test]
fn every_variable_of_the_contract_reaches_its_setting() {
    let settings = with(&[
        ("REDIS_URL", "rediss://:r@cache:6380"),
        ("DATABASE_URL", "postgres://u:p@db/surepass"),
        ("STRIPE_SECRET_KEY", "rk_live_1"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_a, whsec_b"),
        ("STRIPE_API_BASE", "http://127.0.0.1:12111"),
        ("SUREPASS_STRIPE_RATE", "5"),
        ("SANITY_API_TOKEN", "sk_sanity"),
        ("SANITY_API_BASE", "http://127.0.0.1:3333"),
        ("SANITY_API_VERSION", "2025-02-19"),
        ("SUREPASS_BIND", "[::]:80"),
        ("SUREPASS_ADMIN_TOKEN", "letmein"),
        ("SUREPASS_JWT_SECRET", "hush"),
        ("SUREPASS_JWKS_URL", "https://id.example.com/jwks.json"),
        ("SUREPASS_DATA_DIR", "/var/lib/surepass"),
        ("SUREPASS_METRICS_BIND", "0.0.0.0:9000"),
        ("RUST_LOG", "warn,surepass=debug"),
        ("SUREPASS_LOG_FORMAT", "json"),
    ])
    .unwrap();
    assert_eq!(exposed(settings.redis.url).unwrap(), "rediss://:r@cache:6380");
    assert_eq!(
        exposed(settings.database.url).unwrap(),
        "postgres://u:p@db/surepass"
    );
    assert_eq!(settings.stripe.livemode(), Some(true));
    let secrets: Vec<_> = settings
        .stripe
        .webhook_secrets
        .iter()
        .map(ExposeSecret::expose_secret)
        .collect();
    assert_eq!(secrets, ["whsec_a", "whsec_b"]);
    assert_eq!(settings.stripe.api_base.as_str(), "http://127.0.0.1:12111/");
    assert_eq!(settings.stripe.rate_per_second, 5);
    assert_eq!(exposed(settings.sanity.token).unwrap(), "sk_sanity");
    assert_eq!(settings.sanity.base.unwrap().as_str(), "http://127.0.0.1:3333/");
    assert_eq!(settings.sanity.version, "2025-02-19");
    assert_eq!(settings.server.bind.to_string(), "[::]:80");
    assert_eq!(exposed(settings.admin.token).unwrap(), "letmein");
    assert_eq!(exposed(settings.customers.jwt_secret).unwrap(), "hush");
    assert_eq!(
        settings.customers.jwks_url.unwrap().as_str(),
        "https://id.example.com/jwks.json"
    );
    assert_eq!(settings.data_dir, PathBuf::from("/var/lib/surepass"));
    assert_eq!(settings.worker.metrics_bind.to_string(), "0.0.0.0:9000");
    assert_eq!(settings.log.filter, "warn,surepass=debug");
    assert_eq!(settings.log.format, Some(LogFormat::Json));
}

#[test]
fn every_variable_is_named_beside_its_key_in_the_reference() {
    let reference = include_str!("../../config/default.toml");
    let mut section = "";
    let mut named = Vec::new();
    for line in reference.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((setting, variable)) = line.split_once(" # ").filter(|_| line.contains(" = ")) {
            let name = setting.split(" = ").next().unwrap();
            let key = if section.is_empty() {
                name.to_owned()
            } else {
                format!("{section}.{name}")
            };
            named.push((variable.to_owned(), key));
        }
    }
    let mut expected = VARIABLES
        .map(|(name, key)| (name.to_owned(), key.to_owned()))
        .to_vec();
    expected.sort();
    named.sort();
    assert_eq!(named, expected);
}

#[test]
fn the_environment_wins_over_the_environments_file_which_wins_over_the_default_file() {
    let folder = folder(&[
        (
            "default.toml",
            "[stripe]\nrate_per_second = 1\n[worker]\nconcurrency = 1\n[queue]\nmax_attempts = 1\n",
        ),
        (
            "staging.toml",
            "[stripe]\nrate_per_second = 2\n[worker]\nconcurrency = 2\n",
        ),
        ("development.toml", "[stripe]\nrate_per_second = 9\n"),
    ]);
    let settings = from(
        &folder,
        &[("SUREPASS_ENV", "staging"), ("SUREPASS_STRIPE_RATE", "3")],
    )
    .unwrap();
    assert_eq!(settings.stripe.rate_per_second, 3);
    assert_eq!(settings.worker.concurrency, 2);
    assert_eq!(settings.queue.max_attempts, 1);
    assert_eq!(settings.queue.max_crashes, 3);
    assert_eq!(from(&folder, &[]).unwrap().stripe.rate_per_second, 9);
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let settings = with(&[
        ("STRIPE_SECRET_KEY", ""),
        ("SUREPASS_BIND", " "),
        ("SUREPASS_ENV", ""),
    ])
    .unwrap();
    assert!(settings.stripe.secret_key.is_none());
    assert_eq!(settings.server.bind.port(), 8080);
}

#[test]
fn the_example_for_production_is_valid() {
    let text = include_str!("../../config/production.example.toml");
    let folder = folder(&[("production.toml", text)]);
    assert_eq!(
        from(&folder, &[("SUREPASS_ENV", "production")])
            .unwrap()
            .log
            .format,
        Some(LogFormat::Json)
    );
}

#[test]
fn webhook_secrets_are_a_list_or_text_with_commas_and_never_empty() {
    let texts = |file: &str| {
        let secrets = with_file(file).unwrap().stripe.webhook_secrets;
        secrets
            .iter()
            .map(|secret| secret.expose_secret().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        texts("[stripe]\nwebhook_secrets = [\"whsec_a \", \"whsec_b\"]"),
        ["whsec_a", "whsec_b"]
    );
    assert_eq!(texts("[stripe]\nwebhook_secrets = \"whsec_a\""), ["whsec_a"]);
    assert_eq!(texts("[stripe]\nwebhook_secrets = []"), <[&str; 0]>::default());
    assert_eq!(
        refusal(with(&[("STRIPE_WEBHOOK_SECRET", "whsec_a,,whsec_b")])),
        "STRIPE_WEBHOOK_SECRET has an empty secret, number 2 of 3: remove the extra comma, or put the secret there",
    );
    assert_eq!(
        refusal(with_file("[stripe]\nwebhook_secrets = [\"whsec_a\", \" \"]")),
        "development.toml: `stripe.webhook_secrets` has an empty secret, number 2 of 2: remove the extra comma, \
         or put the secret there",
    );
}

#[test]
fn the_keys_prefix_tells_live_from_test() {
    let livemode = |key| with(&[("STRIPE_SECRET_KEY", key)]).unwrap().stripe.livemode();
    assert_eq!(livemode("sk_live_1"), Some(true));
    assert_eq!(livemode("rk_live_1"), Some(true));
    assert_eq!(livemode("sk_test_1"), Some(false));
    assert_eq!(livemode("rk_test_1"), Some(false));
    assert_eq!(livemode("sk_org_1"), None);
    assert_eq!(livemode(""), None);
}

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
            "STRIPE_API_BASE must be a URL that begins with https:// or http://",
        ),
        (
            refusal(with(&[("STRIPE_SECRET_KEY", "pk_live_1")])),
            "STRIPE_SECRET_KEY is a publishable key (pk_…): take a restricted key (rk_…) or the secret key (sk_…)",
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
            "development.toml: there is no setting `stripe.webhok_secrets`; here it could be one of: api_base, \
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
fn secrets_never_reach_debug_or_errors() {
    let secret = "s3cr3t";
    let names = [
        "REDIS_URL",
        "DATABASE_URL",
        "STRIPE_SECRET_KEY",
        "STRIPE_WEBHOOK_SECRET",
        "SANITY_API_TOKEN",
        "SUREPASS_ADMIN_TOKEN",
        "SUREPASS_JWT_SECRET",
    ];
    let settings = with(&names.map(|name| (name, secret))).unwrap();
    assert!(!format!("{settings:?}").contains(secret));
    assert_eq!(exposed(settings.redis.url).unwrap(), secret);

    for file in [
        "[stripe]\nsecret_key = [\"s3cr3t\"]",
        "[stripe]\nwebhook_secrets = { a = \"s3cr3t\" }",
        "[stripe]\nwebhook_secrets = [[\"s3cr3t\"]]",
        "[stripe]\nsecret_key = \"s3cr3t",
        "[stripe]\nsecret_key = s3cr3t",
        "[stripe]\nsecret_key = \"s3cr3t\" \"s3cr3t\"",
        "[customers]\njwks_url = \"https:// :s3cr3t@x\"",
    ] {
        let error = with_file(file).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
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
fn each_queue_has_its_own_weight_and_limits_and_shares_the_rest() {
    let text = "[queue]\nlease_seconds = 7\n[queue.sync]\nmax_running = 4\nmax_per_second = 20\n";
    let settings = with_file(text).unwrap();
    let (fulfil, sync) = (settings.queue_config(), settings.queue_config_of(QueueName::Sync));
    assert_eq!((fulfil.name.as_str(), sync.name.as_str()), ("fulfil", "sync"));
    assert_eq!(
        (fulfil.lease, sync.lease),
        (Duration::from_secs(7), Duration::from_secs(7))
    );
    assert_eq!(fulfil.limits, Limits::default());
    assert_eq!((sync.limits.running, sync.limits.per_second), (4, 20));
    assert_eq!(settings.queue.of(QueueName::Fulfil).weight, 10);
    assert_eq!(settings.queue.of(QueueName::Sync).weight, 1);
    assert_eq!(fulfil.leave_unknown, Duration::from_hours(24));
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
    assert_eq!(off.lookback.time_zone, chrono_tz::Europe::Oslo);
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
