//! Our verdict on a signed webhook against that of Stripe's own libraries, `constructEvent` of npm's `stripe` and
//! `construct_event` of `PyPI`'s, on headers that those libraries signed.
//!
//! `tests/peers/cases.json` holds every case of the libraries' own webhook test suites that does not depend on their
//! language (a payload of the wrong JavaScript type, a custom crypto provider), and the doubtful ones beyond them. A
//! tolerance of 0, which means "any age" to both libraries, does not exist here.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chrono::DateTime;
use secrecy::SecretString;
use serde::Deserialize;
use surepass::stripe::signature::{SignatureError, Verifier, sign};

/// One line of a peer's output: a case, signed and judged by its library.
#[derive(Deserialize)]
struct Judged {
    name: String,
    #[serde(with = "hex_option")]
    header: Option<Vec<u8>>,
    #[serde(with = "hex")]
    body: Vec<u8>,
    now_ms: i64,
    tolerance: u64,
    secrets: Vec<String>,
    signed: Vec<Signed>,
    /// `genuine`, one of our error codes, `empty_secret`, or `error` where the library trips over the input.
    verdict: String,
}

#[derive(Deserialize)]
struct Signed {
    timestamp: serde_json::Number,
    secret: String,
    scheme: String,
    #[serde(with = "hex")]
    body: Vec<u8>,
    header: String,
}

mod hex_option {
    use serde::{Deserialize, Deserializer, de::Error};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(hex::decode).transpose().map_err(D::Error::custom)
    }
}

/// Where the libraries disagree with each other, or we with both: the case, Node's verdict, Python's, ours, and why.
#[rustfmt::skip]
const DIFFERENCES: [[&str; 5]; 19] = [
    ["300.5 s old", OK, STALE, OK, "age counts in whole seconds, as Stripe's timestamps do"],
    ["a timestamp without a value", INVALID, MALFORMED, MALFORMED, NUMBER],
    ["an empty timestamp", INVALID, MALFORMED, MALFORMED, NUMBER],
    ["a timestamp that is not a number", INVALID, MALFORMED, MALFORMED, NUMBER],
    ["a number and then letters as the timestamp", OK, MALFORMED, MALFORMED, NUMBER],
    ["a fraction as the timestamp", OK, MALFORMED, MALFORMED, NUMBER],
    ["underscores in the timestamp", INVALID, OK, MALFORMED, NUMBER],
    ["a timestamp of minus one", MALFORMED, STALE, STALE, "a number like others, and old"],
    ["a timestamp beyond 64 bits", OK, OK, MALFORMED, "no such time exists"],
    ["two timestamps, the first signed", INVALID, OK, OK, FIRST],
    ["two timestamps, the last signed", OK, INVALID, INVALID, FIRST],
    ["a signature without a value", TRIPS, MALFORMED, MALFORMED, "not a scheme and its signature"],
    ["a signature without a value before a valid one", TRIPS, MALFORMED, MALFORMED, "not a scheme and its signature"],
    ["an empty signature before a valid one", TRIPS, OK, OK, "one valid signature is enough"],
    ["a signature outside ASCII before a valid one", OK, TRIPS, OK, "one valid signature is enough"],
    ["1500 bad signatures, 100 kB, before a valid one", OK, OK, INVALID, "only 32 are compared; Stripe sends two at most"],
    ["a byte order mark before the body", INVALID, OK, OK, "the raw bytes are what was signed"],
    ["a body that is not UTF-8", INVALID, TRIPS, INVALID, "the raw bytes are what was signed"],
    ["a secret with white space behind it", INVALID, INVALID, OK, "white space was pasted, never meant"],
];
const OK: &str = "genuine";
const MALFORMED: &str = "malformed_signature";
const INVALID: &str = "invalid_signature";
const STALE: &str = "stale_timestamp";
const TRIPS: &str = "error";
const NUMBER: &str = "a timestamp is a whole number; what else is there is not Stripe's";
const FIRST: &str = "Stripe sends one; either answer is safe, as it is refused unless signed";

#[test]
fn headers_signed_by_stripes_node_library_get_its_own_verdict() {
    agree_with(
        "node",
        "tests/peers/sign.mjs",
        ".tools/node/node_modules/stripe",
        |[_, node, ..]| node,
    );
}

#[test]
fn headers_signed_by_stripes_python_library_get_its_own_verdict() {
    agree_with(
        "python3",
        "tests/peers/sign.py",
        ".tools/python/stripe",
        |[_, _, python, ..]| python,
    );
}

fn agree_with(
    program: &str,
    script: &str,
    library: &str,
    theirs: impl Fn([&'static str; 5]) -> &'static str,
) {
    let cases = judged_by(program, script, library);
    for case in &cases {
        let name = case.name.as_str();
        let ours = our_verdict(case);
        if let Some(&row) = DIFFERENCES.iter().find(|row| row[0] == name) {
            let [.., expected, why] = row;
            assert_eq!(
                case.verdict,
                theirs(row),
                "{program} judges `{name}` anew: is our answer still right?"
            );
            assert_eq!(ours, expected, "{name}: {why}");
        } else {
            assert_eq!(ours, case.verdict, "{name}");
        }
        for made in &case.signed {
            sign_alike(made);
        }
    }
    for [name, ..] in DIFFERENCES {
        assert!(cases.iter().any(|case| case.name == name), "no such case: {name}");
    }
}

fn our_verdict(case: &Judged) -> &'static str {
    let secrets: Vec<_> = case
        .secrets
        .iter()
        .map(|text| SecretString::from(text.as_str()))
        .collect();
    let Ok(verifier) = Verifier::new(&secrets) else {
        return "empty_secret";
    };
    let now = DateTime::from_timestamp_millis(case.now_ms).unwrap();
    verifier
        .with_tolerance(Duration::from_secs(case.tolerance))
        .verify(case.header.as_deref(), &case.body, now)
        .map_or_else(|error: SignatureError| error.code(), |()| "genuine")
}

/// Our own signer writes what the library's signer wrote, for every timestamp that there is.
fn sign_alike(made: &Signed) {
    let Some(timestamp) = made.timestamp.as_i64().filter(|_| made.scheme == "v1") else {
        return;
    };
    assert_eq!(
        sign(&SecretString::from(made.secret.as_str()), timestamp, &made.body),
        made.header
    );
}

fn judged_by(program: &str, script: &str, library: &str) -> Vec<Judged> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(
        root.join(library).exists(),
        "Stripe's own library is not installed in {library}: run `make test`, or `scripts/install.sh test` once",
    );
    let output = Command::new(program)
        .arg(root.join(script))
        .env("PATH", path_with_tools(root))
        .output()
        .unwrap_or_else(|error| panic!("cannot run {program} ({error}): run `scripts/install.sh test`"));
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8(output.stdout).unwrap();
    let cases: Vec<Judged> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(cases.len() >= 70, "{script} judged only {} cases", cases.len());
    cases
}

/// What `scripts/install.sh` could not install in the system is under `.tools/bin`.
fn path_with_tools(root: &Path) -> std::ffi::OsString {
    let mut path = root.join(".tools/bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}
