//! The files of config/ with which others run Surepass: they name what there is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use surepass::config::{Settings, VARIABLES};

use crate::metrics::Page;
use support::program::{SUREPASS, WORKER, eventually, stderr};
use support::shop::Shop;
use support::stripe_sandbox::{StripeSandbox, TEST_KEY};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Variables that are no settings of a file.
const OTHER_VARIABLES: [&str; 3] = ["SUREPASS_CONFIG", "SUREPASS_ENV", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// The documents of a YAML file.
fn documents(path: &str) -> Vec<Value> {
    let output = Command::new("python3")
        .arg(format!("{ROOT}/tests/peers/yaml_json.py"))
        .arg(format!("{ROOT}/{path}"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{path}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn document(path: &str, kind: &str) -> Value {
    let found = documents(path).into_iter().find(|one| one["kind"] == kind);
    found.unwrap_or_else(|| panic!("{path} has no {kind}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// Asserts that a program of ours takes these arguments.
fn is_a_command(words: &[&str]) {
    let program = match words[0].rsplit('/').next() {
        Some("surepass") => &**SUREPASS,
        Some("surepass-worker") => &**WORKER,
        other => panic!("{other:?} is no program of ours"),
    };
    let output = Command::new(program)
        .args(&words[1..])
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {}", stderr(&output));
}

fn is_a_variable(name: &str) {
    let known = VARIABLES.iter().any(|(variable, _)| *variable == name) || OTHER_VARIABLES.contains(&name);
    assert!(known, "there is no variable {name}");
}

/// A metric, with the labels that are asked for and their values.
type Selector = (String, Vec<(String, Vec<String>)>);

/// What an expression reads.
fn selectors(expression: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find("surepass_") {
        rest = &rest[start..];
        let end = rest
            .find(|c: char| !c.is_ascii_lowercase() && c != '_')
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        let mut labels = Vec::new();
        if let Some((inside, after)) = rest.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
            rest = after;
            for matcher in inside.split(',') {
                let (label, values) = matcher.split_once('=').unwrap();
                let values = values.trim_start_matches('~').trim_matches('"').split('|');
                labels.push((label.to_owned(), values.map(str::to_owned).collect()));
            }
        }
        found.push((name.to_owned(), labels));
    }
    found
}

#[tokio::test]
async fn every_alert_reads_metrics_that_the_programs_export() {
    // With a key that Stripe refuses, the check of the endpoints has something to report.
    let stripe = StripeSandbox::start(&[]).await;
    let refused = json!({TEST_KEY: {"refuse": [], "expired": true}});
    stripe.control(Method::PUT, "keys", refused).await;
    let mut shop = Shop::prepare("").await;
    shop.set("STRIPE_API_BASE", &stripe.url);
    shop.set("STRIPE_SECRET_KEY", TEST_KEY);
    shop.start_server().await;
    // With the schedules, which a shop's workers otherwise leave alone.
    let worker = shop.launch(&WORKER, &[]);
    let addresses = [
        Shop::metrics_of(&shop.servers[0].program).await,
        Shop::metrics_of(&worker).await,
    ];
    let groups = documents("config/prometheus/alerts.yml").remove(0);
    let alerts = groups["groups"][0]["rules"].as_array().unwrap();
    assert!(alerts.len() > 5);
    for alert in alerts {
        let selectors = selectors(text(&alert["expr"]));
        assert!(!selectors.is_empty(), "{alert}");
        for (name, labels) in &selectors {
            let values = labels
                .iter()
                .flat_map(|(label, values)| values.iter().map(move |value| (label, value)));
            let mut asked: Vec<Vec<(&str, &str)>> = values
                .map(|(label, value)| vec![(label.as_str(), value.as_str())])
                .collect();
            asked.push(Vec::new());
            for labels in asked {
                eventually(
                    &format!("{name} with {labels:?} for {}", alert["alert"]),
                    async || exported(&addresses, name, &labels).await,
                )
                .await;
            }
        }
        for label in ["summary", "description", "runbook_url"] {
            assert!(!text(&alert["annotations"][label]).is_empty(), "{alert}");
        }
    }
}

async fn exported(addresses: &[String], name: &str, labels: &[(&str, &str)]) -> bool {
    for address in addresses {
        if Page::of(address).await.value(name, labels).is_some() {
            return true;
        }
    }
    false
}

/// The variables of a container: of the `ConfigMap`, the Secret, and its own.
fn environment(container: &Value) -> BTreeMap<String, String> {
    let settings = document("config/kubernetes/settings.yaml", "ConfigMap")["data"].clone();
    let secrets = document("config/kubernetes/secret.example.yaml", "Secret")["stringData"].clone();
    let shared = [settings, secrets]
        .map(|map| map.as_object().unwrap().clone())
        .into_iter()
        .flatten();
    let mut environment: BTreeMap<_, _> = shared
        .map(|(name, value)| (name, text(&value).to_owned()))
        .collect();
    for own in container["env"].as_array().unwrap_or(&Vec::new()) {
        environment.insert(text(&own["name"]).to_owned(), text(&own["value"]).to_owned());
    }
    environment
}

/// What the programs make of the files in the `ConfigMap` and of these variables.
fn settings_of(environment: &BTreeMap<String, String>) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    for map in documents("config/kubernetes/settings.yaml") {
        if map["metadata"]["name"] == "surepass-files" {
            for (name, file) in map["data"].as_object().unwrap() {
                std::fs::write(folder.path().join(name), text(file)).unwrap();
            }
        }
    }
    let folder = folder.path().to_str().unwrap().to_owned();
    Settings::load_from(|name| match name {
        "SUREPASS_CONFIG" => Some(folder.clone()),
        name => environment.get(name).cloned(),
    })
    .unwrap()
}

#[test]
fn the_kubernetes_manifests_start_what_there_is_probe_it_where_it_listens_and_let_it_finish() {
    for (file, kind, probed) in [
        ("server", "Deployment", Some("SUREPASS_BIND")),
        ("worker", "Deployment", Some("SUREPASS_METRICS_BIND")),
        ("migrate", "Job", None),
    ] {
        let pod = &document(&format!("config/kubernetes/{file}.yaml"), kind)["spec"]["template"];
        let container = &pod["spec"]["containers"][0];
        let command: Vec<_> = container["command"]
            .as_array()
            .unwrap()
            .iter()
            .map(text)
            .collect();
        is_a_command(&command);
        let environment = environment(container);
        for name in environment.keys() {
            is_a_variable(name);
        }
        let settings = settings_of(&environment);
        let Some(probed) = probed else { continue };

        let port_of =
            |variable: &str| -> u64 { environment[variable].rsplit(':').next().unwrap().parse().unwrap() };
        let ports: BTreeMap<_, _> = container["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| (text(&port["name"]), port["containerPort"].as_u64().unwrap()))
            .collect();
        for (probe, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")] {
            let get = &container[probe]["httpGet"];
            assert_eq!(get["path"], path, "{file}");
            assert_eq!(ports[text(&get["port"])], port_of(probed), "{file}: {probe}");
        }
        let metrics = if file == "server" {
            "SUREPASS_SERVER_METRICS_BIND"
        } else {
            probed
        };
        let scraped = text(&pod["metadata"]["annotations"]["prometheus.io/port"]);
        assert_eq!(scraped, port_of(metrics).to_string());
        let pause = container["lifecycle"]["preStop"]["exec"]["command"][1]
            .as_str()
            .unwrap_or("0");
        let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(
            grace > settings.worker.grace.as_secs() + pause.parse::<u64>().unwrap(),
            "{file}"
        );
    }
}

#[test]
fn docker_compose_passes_variables_that_there_are() {
    let compose = documents("docker-compose.yml").remove(0);
    for service in ["server", "worker"] {
        let service = &compose["services"][service];
        for name in service["environment"].as_object().unwrap().keys() {
            is_a_variable(name);
        }
        let command: Vec<_> = service["command"].as_array().unwrap().iter().map(text).collect();
        is_a_command(&command);
    }
}

#[test]
fn the_systemd_units_are_valid_and_start_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut units: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(Path::new(ROOT).join("config/systemd")).unwrap() {
        let path = entry.unwrap().path();
        let unit = std::fs::read_to_string(&path).unwrap();
        let setting = |key: &str| {
            unit.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        };
        let start = setting("ExecStart").unwrap();
        is_a_command(&start.split(' ').collect::<Vec<_>>());
        for pair in setting("Environment").unwrap().split(' ') {
            is_a_variable(pair.split_once('=').unwrap().0);
        }
        if let Some(stop) = setting("TimeoutStopSec") {
            let grace = Settings::load_from(|_| None).unwrap().worker.grace.as_secs();
            assert!(stop.parse::<u64>().unwrap() > grace, "{}", path.display());
        }
        let copy = folder.path().join(path.file_name().unwrap());
        // The programs are not installed here, and the check asks for them.
        std::fs::write(&copy, unit.replace(start, "/bin/true")).unwrap();
        units.push(copy);
    }
    assert_eq!(units.len(), 3);
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .args(&units)
        .output();
    match verified {
        Ok(output) => assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}",
            stderr(&output)
        ),
        Err(error) => eprintln!("systemd-analyze is not here, the units' syntax stays unchecked: {error}"),
    }
}
