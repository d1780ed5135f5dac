mod refused;

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::*;
use crate::queue::QueueLimits;

const ADMIN: &str = "kari:operator:0123456789abcdef01234567";
const SECRETS: [&str; 7] = [
    "REDIS_URL",
    "DATABASE_URL",
    "STRIPE_SECRET_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "SANITY_API_TOKEN",
    "SUREPASS_ADMIN_TOKEN",
    "SUREPASS_JWT_SECRET",
];
const JWT: &str = "0123456789abcdef0123456789abcdef";

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

/// The message without the path of the temporary folder.
fn refusal(result: Result<Settings, ConfigError>) -> String {
    let message = result.unwrap_err().to_string();
    let folders = format!("{}/", std::env::temp_dir().display());
    match message.split_once(&folders) {
        Some((before, path)) => format!("{before}{}", path.split_once('/').unwrap().1),
        None => message,
    }
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
    assert_eq!(*settings.stripe.rate_per_second, 20);
    assert_eq!(settings.server.bind.to_string(), "127.0.0.1:8080");
    assert_eq!(*settings.server.max_body_bytes, 1 << 20);
    assert_eq!(*settings.server.redis_timeout, Duration::from_secs(2));
    assert_eq!(
        *settings.server.signature_tolerance,
        crate::stripe::signature::DEFAULT_TOLERANCE
    );
    assert_eq!(*settings.server.workers, 0);
    assert_eq!(*settings.server.body_timeout, Duration::from_secs(10));
    assert_eq!(*settings.server.unfinished_per_address, 256);
    assert_eq!(settings.server.metrics_bind.to_string(), "127.0.0.1:9463");
    assert_eq!(settings.worker.metrics_bind.to_string(), "127.0.0.1:9464");
    assert_eq!(*settings.worker.grace, Duration::from_secs(25));
    assert_eq!(*settings.queue.max_attempts, 16);
    assert_eq!(*settings.queue.backoff_base, Duration::from_secs(1));
    assert_eq!(*settings.queue.backoff_cap, Duration::from_mins(10));
    assert_eq!(*settings.queue.max_crashes, 3);
    assert_eq!(*settings.queue.event_dedupe, Duration::from_hours(35 * 24));
    assert_eq!(*settings.queue.keep_dead, Duration::from_hours(30 * 24));
    let lookback = &settings.lookback;
    let set = |schedule: &Option<crate::schedule::Schedule>| schedule.as_ref().map(ToString::to_string);
    assert_eq!(lookback.time_zone, crate::time_zone::Tz::UTC);
    assert_eq!(set(&lookback.nightly).as_deref(), Some("0 3 * * *"));
    assert_eq!(*lookback.nightly_window, Duration::from_hours(30 * 24));
    assert_eq!(set(&lookback.recent).as_deref(), Some("*/10 * * * *"));
    assert_eq!(*lookback.recent_window, Duration::from_hours(3));
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
        ("SUREPASS_LIVEMODE", "true"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_first-11, whsec_second-2"),
        ("STRIPE_API_BASE", "http://127.0.0.1:12111"),
        ("SUREPASS_STRIPE_RATE", "5"),
        ("SANITY_API_TOKEN", "sk_sanity"),
        ("SANITY_API_BASE", "http://127.0.0.1:3333"),
        ("SANITY_API_VERSION", "2025-02-19"),
        ("SUREPASS_BIND", "[::]:80"),
        ("SUREPASS_ADMIN_TOKEN", ADMIN),
        ("SUREPASS_JWT_SECRET", JWT),
        ("SUREPASS_JWKS_URL", "https://id.example.com/jwks.json"),
        ("SUREPASS_DATA_DIR", "/var/lib/surepass"),
        ("SUREPASS_SERVER_METRICS_BIND", "0.0.0.0:9001"),
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
    assert_eq!(settings.stripe.livemode, Some(true));
    let secrets: Vec<_> = settings
        .stripe
        .webhook_secrets
        .iter()
        .map(ExposeSecret::expose_secret)
        .collect();
    assert_eq!(secrets, ["whsec_first-11", "whsec_second-2"]);
    assert_eq!(settings.stripe.api_base.as_str(), "http://127.0.0.1:12111/");
    assert_eq!(*settings.stripe.rate_per_second, 5);
    assert_eq!(exposed(settings.sanity.token).unwrap(), "sk_sanity");
    assert_eq!(settings.sanity.base.unwrap().as_str(), "http://127.0.0.1:3333/");
    assert_eq!(settings.sanity.version, "2025-02-19");
    assert_eq!(settings.server.bind.to_string(), "[::]:80");
    assert_eq!(exposed(settings.admin.token).unwrap(), ADMIN);
    assert_eq!(exposed(settings.customers.jwt_secret).unwrap(), JWT);
    assert_eq!(
        settings.customers.jwks_url.unwrap().as_str(),
        "https://id.example.com/jwks.json"
    );
    assert_eq!(settings.data_dir, PathBuf::from("/var/lib/surepass"));
    assert_eq!(settings.server.metrics_bind.to_string(), "0.0.0.0:9001");
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
    assert_eq!(*settings.stripe.rate_per_second, 3);
    assert_eq!(*settings.worker.concurrency, 2);
    assert_eq!(*settings.queue.max_attempts, 1);
    assert_eq!(*settings.queue.max_crashes, 3);
    assert_eq!(*from(&folder, &[]).unwrap().stripe.rate_per_second, 9);
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
fn webhook_secrets_are_a_list_or_text_with_commas() {
    let texts = |file: &str| {
        let secrets = with_file(file).unwrap().stripe.webhook_secrets;
        secrets
            .iter()
            .map(|secret| secret.expose_secret().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        texts("[stripe]\nwebhook_secrets = [\"whsec_first-11 \", \"whsec_second-2\"]"),
        ["whsec_first-11", "whsec_second-2"]
    );
    assert_eq!(
        texts("[stripe]\nwebhook_secrets = \"whsec_first-11\""),
        ["whsec_first-11"]
    );
    assert_eq!(texts("[stripe]\nwebhook_secrets = []"), <[&str; 0]>::default());
}

#[test]
fn the_keys_prefix_tells_live_from_test() {
    let livemode = |key| with(&[("STRIPE_SECRET_KEY", key)]).unwrap().stripe.livemode();
    assert_eq!(livemode("sk_live_1"), Some(true));
    assert_eq!(livemode("rk_live_1"), Some(true));
    assert_eq!(livemode("sk_test_1"), Some(false));
    assert_eq!(livemode("rk_test_1"), Some(false));
    assert_eq!(livemode(""), None);
}

#[test]
fn without_a_key_the_setting_tells_live_from_test_and_it_may_not_contradict_a_key() {
    let set = |key, mode| with(&[("STRIPE_SECRET_KEY", key), ("SUREPASS_LIVEMODE", mode)]);
    let livemode = |key, mode| set(key, mode).unwrap().stripe.livemode();
    assert_eq!(livemode("", "true"), Some(true));
    assert_eq!(livemode("", "false"), Some(false));
    assert_eq!(livemode("", " "), None);
    assert_eq!(livemode("rk_live_1", "true"), Some(true));
    assert_eq!(livemode("rk_test_1", "false"), Some(false));
    let in_file = |value| with_file(&format!("[stripe]\nlivemode = {value}"));
    assert_eq!(in_file("true").unwrap().stripe.livemode(), Some(true));
    assert_eq!(in_file("\"\"").unwrap().stripe.livemode(), None);
    for (key, mode, told) in [
        (
            "rk_test_1",
            "true",
            "SUREPASS_LIVEMODE is true, but STRIPE_SECRET_KEY is a test key",
        ),
        (
            "sk_live_1",
            "false",
            "SUREPASS_LIVEMODE is false, but STRIPE_SECRET_KEY is a live key",
        ),
        (
            "",
            "live",
            "SUREPASS_LIVEMODE must be `true` or `false`, and is `live`",
        ),
    ] {
        let refusal = refusal(set(key, mode));
        assert!(refusal.starts_with(told), "{refusal}");
    }
}

#[test]
fn secrets_never_reach_debug_or_errors() {
    let secret = "s3cr3t";
    let long = "s3cr3t-0123456789abcdef-0123456789abcdef";
    let settings = with(&[
        ("REDIS_URL", secret),
        ("DATABASE_URL", secret),
        ("STRIPE_SECRET_KEY", "sk_test_s3cr3t"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_s3cr3t-1"),
        ("SANITY_API_TOKEN", secret),
        ("SUREPASS_ADMIN_TOKEN", long),
        ("SUREPASS_JWT_SECRET", long),
    ])
    .unwrap();
    assert!(!format!("{settings:?}").contains(secret));
    assert_eq!(exposed(settings.redis.url).unwrap(), secret);
    for name in SECRETS {
        for value in ["\"s3cr3t\"", "s3cr3t", "we_s3cr3t", "sk_s3cr3t"] {
            let Err(error) = with(&[(name, value)]) else {
                continue;
            };
            assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
        }
    }

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
fn each_queue_has_its_own_weight_and_limits_and_shares_the_rest() {
    let text = "[queue]\nlease_seconds = 7\n[queue.sync]\nmax_running = 4\nmax_per_second = 20\n";
    let settings = with_file(text).unwrap();
    let (fulfil, sync) = (settings.queue_config(), settings.queue_config_of(QueueName::Sync));
    assert_eq!((fulfil.name.as_str(), sync.name.as_str()), ("fulfil", "sync"));
    assert_eq!(
        (fulfil.lease, sync.lease),
        (Duration::from_secs(7), Duration::from_secs(7))
    );
    assert_eq!(fulfil.limits, QueueLimits::default());
    assert_eq!((sync.limits.running, sync.limits.per_second), (4, 20));
    assert_eq!(*settings.queue.of(QueueName::Fulfil).weight, 10);
    assert_eq!(*settings.queue.of(QueueName::Sync).weight, 1);
    assert_eq!(fulfil.leave_unknown, Duration::from_hours(24));
}
