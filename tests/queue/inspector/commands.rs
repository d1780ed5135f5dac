//! `surepass jobs` and `surepass workers` as processes.

use std::process::Output;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use surepass::queue::JobState;

use crate::inspector::fixture::{Fixture, of};
use crate::world::{Size, hang, work, works};
use support::program::{SUREPASS, command, run, stderr, stdout};

impl Fixture {
    async fn surepass(&self, arguments: &[&str]) -> Output {
        let folder = self.world.folder();
        let database = format!("sqlite://{}", folder.join("audit.db").display());
        let url = self.world.server.url();
        let environment = [
            ("SUREPASS_CONFIG", folder.to_str().unwrap()),
            ("SUREPASS_DATA_DIR", folder.to_str().unwrap()),
            ("REDIS_URL", url.expose_secret()),
            ("DATABASE_URL", &database),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        run(command(&SUREPASS, arguments, &environment)).await
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let output = self.surepass(arguments).await;
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        serde_json::from_str(&stdout(&output)).unwrap()
    }
}

/// The status, and what it says on stdout and stderr.
fn said(output: &Output) -> (Option<i32>, String, String) {
    (output.status.code(), stdout(output), stderr(output))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_shows_each_job_with_state_age_id_and_error_within_100_columns() {
    let (office, worker, gate) = Fixture::with_each_state().await;
    let output = office.surepass(&["jobs", "list"]).await;
    let (status, text, errors) = said(&output);
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    let first = text.lines().next().unwrap();
    assert!(
        first.starts_with("fulfil: 1 waiting, 1 scheduled, 1 running, 1 dead, 1 done; oldest waiting for"),
        "{first}"
    );
    let shown: Vec<(&str, &str)> = text
        .lines()
        .skip(3)
        .filter(|line| !line.starts_with(' '))
        .map(|line| (line.split(' ').next().unwrap(), &line[23..]))
        .collect();
    let expected = ["running", "dead", "scheduled", "waiting", "done"];
    assert_eq!(shown, expected.map(|state| (state, state)));
    assert!(
        text.contains("studio · 1 attempt · no_pass: no pass for dead"),
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let document = office.json(&["jobs", "list", "--state", "dead", "--json"]).await;
    assert_eq!(document["jobs"][0]["id"], "dead");
    assert_eq!(document["jobs"][0]["reason"], "no_pass");
    let ended = document["jobs"][0]["ended"].as_str().unwrap();
    assert!(chrono::DateTime::parse_from_rfc3339(ended).is_ok(), "{ended}");
    assert_eq!(
        (&document["next"], &document["queues"][0]["running"]),
        (&Value::Null, &json!(1))
    );
    gate.add_permits(2);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_pages_by_the_cursor_that_it_tells() {
    let office = Fixture::open().await;
    office.world.queue.enqueue(&works(0..5)).await.unwrap();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut arguments = vec!["jobs", "list", "--state", "waiting", "--limit", "2"];
        if !cursor.is_empty() {
            arguments.extend(["--cursor", &cursor]);
        }
        let text = stdout(&office.surepass(&arguments).await);
        seen.extend(
            text.lines()
                .filter(|line| line.starts_with("waiting"))
                .map(|line| line[23..].to_owned()),
        );
        match text.lines().find_map(|line| line.strip_prefix("--cursor ")) {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, (0..5).map(|n| format!("job-{n}")).collect::<Vec<_>>());
    let none = stdout(&office.surepass(&["jobs", "list", "--state", "dead"]).await);
    assert!(none.ends_with("\n\nNo job matches.\n"), "{none}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn show_tells_a_life_and_says_where_else_to_look() {
    let office = Fixture::open().await;
    office.kill(vec![work("fulfil:cs_test_1").group("studio")]).await;
    // A bare session is the job that fulfils it.
    let text = stdout(&office.surepass(&["jobs", "show", "cs_test_1"]).await);
    for words in [
        "fulfil:cs_test_1\n",
        "  state      dead since 20",
        " UTC (",
        " ago)",
        "  reason     no_pass (permanent: fix the cause, then retry)",
        "  kind       work, version 1",
        "  tenant     studio",
        "  attempts   1\n",
        "no_pass  20",
        "on killer:1",
        "no pass for fulfil:cs_test_1",
        "Payload",
        "  \"fulfil:cs_test_1\"",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let document = office.json(&["jobs", "show", "cs_test_1", "--json"]).await;
    assert_eq!(
        (&document["state"], &document["failedAttempts"][0]["code"]),
        (&json!("dead"), &json!("no_pass"))
    );
    let (status, text, errors) = said(&office.surepass(&["jobs", "show", "cs_gone"]).await);
    assert_eq!((status, text.as_str()), (Some(1), ""));
    assert_eq!(
        errors,
        "surepass: there is no job `fulfil:cs_gone`: it was never enqueued, or is done and no longer kept. Next: \
         surepass subscriptions list --session cs_gone\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_and_discard_by_id_exit_1_when_something_was_not_done() {
    let office = Fixture::open().await;
    office.kill(vec![work("a"), work("fulfil:cs_b")]).await;
    let done = said(&office.surepass(&["jobs", "retry", "a", "--why", "mended"]).await);
    assert_eq!(done, (Some(0), "a: retried\n".to_owned(), String::new()));
    let again = said(&office.surepass(&["jobs", "retry", "a"]).await);
    assert_eq!(again, (Some(0), "a: waiting\n".to_owned(), String::new()));
    let discarded = said(&office.surepass(&["jobs", "discard", "cs_b", "cs_none"]).await);
    assert_eq!(
        (discarded.0, discarded.1.as_str()),
        (Some(1), "fulfil:cs_b: discarded\n")
    );
    assert!(
        discarded.2.contains("there is no job `fulfil:cs_none`"),
        "{}",
        discarded.2
    );
    let mut worker = office.world.hire("w", Size::of(1, 0), hang());
    worker.next().await;
    let (status, text, errors) = said(&office.surepass(&["jobs", "retry", "a"]).await);
    assert_eq!((status, text.as_str()), (Some(1), ""));
    assert!(
        errors.contains("a is running, so there is nothing to retry"),
        "{errors}"
    );
    let document = stdout(&office.surepass(&["jobs", "discard", "a", "--json"]).await);
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document, json!({"jobs": [{"id": "a", "outcome": "discarded"}]}));
    let audit = office.audit().await;
    let first = audit.last().unwrap();
    assert_eq!(
        (first.action.as_str(), first.reason.as_deref()),
        ("jobs.retry", Some("mended"))
    );
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::current())
        .unwrap()
        .unwrap()
        .name;
    assert!(first.actor.starts_with(&format!("{user}@")), "{}", first.actor);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_act_tells_its_count_and_needs_a_yes_where_nobody_can_be_asked() {
    let office = Fixture::open().await;
    office.kill(works(0..30)).await;
    let asked = said(&office.surepass(&["jobs", "retry", "--dead"]).await);
    let words = "surepass: 30 jobs match. Not a terminal: pass --yes to confirm\n";
    assert_eq!(asked, (Some(2), String::new(), words.to_owned()));
    assert_eq!(office.world.queue.counts().await.unwrap().dead, 30);
    let some = said(
        &office
            .surepass(&["jobs", "discard", "--dead", "--error", "job-1", "--yes"])
            .await,
    );
    assert_eq!(some, (Some(0), "Discarded 11 jobs.\n".to_owned(), String::new()));
    let document = office.json(&["jobs", "retry", "--dead", "--yes", "--json"]).await;
    assert_eq!(document, json!({"matched": 19, "done": 19}));
    let none = said(&office.surepass(&["jobs", "retry", "--dead"]).await);
    assert_eq!(none, (Some(0), "No job matches.\n".to_owned(), String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misuse_exits_2_and_says_how_to_do_it() {
    let office = Fixture::open().await;
    for (arguments, words) in [
        (
            &["jobs", "retry"][..],
            "name the jobs by their ids, or pass --dead or --state",
        ),
        (&["jobs", "discard"], "name the jobs by their ids"),
        (&["jobs", "retry", "a", "--dead"], "cannot be used with"),
        (
            &["jobs", "discard", "a", "--tenant", "t"],
            "ids and filters cannot be combined",
        ),
        (&["jobs", "discard", "--tenant", "t"], "pass --dead or --state"),
        (
            &["jobs", "list", "--state", "gone"],
            "possible values: running, dead, scheduled, waiting, done",
        ),
        (
            &["jobs", "list", "--queue", "nothing"],
            "there is no queue `nothing`: the queues are fulfil",
        ),
        (
            &["jobs", "list", "--cursor", "x"],
            "this cursor is of another list",
        ),
        (
            &["jobs", "list", "--state", "done", "--tenant", "t"],
            "of a done job only its id",
        ),
        (&["jobs", "list", "--older-than", "soon"], "--older-than"),
        (&["jobs", "pause", "nothing"], "the queues are fulfil"),
        (&["jobs", "show"], "<ID>"),
    ] {
        let (status, text, errors) = said(&office.surepass(arguments).await);
        assert_eq!((status, text.as_str()), (Some(2), ""), "{arguments:?}: {errors}");
        assert!(errors.contains(words), "{arguments:?}: {errors}");
    }
    assert_eq!(office.audit().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pause_and_resume_say_what_they_do() {
    let office = Fixture::open().await;
    let (status, text, _) = said(
        &office
            .surepass(&["jobs", "pause", "fulfil", "--why", "deploy"])
            .await,
    );
    assert_eq!(status, Some(0));
    assert_eq!(
        text,
        "fulfil: paused. Running jobs finish; others wait for `surepass jobs resume fulfil`.\n"
    );
    let list = stdout(&office.surepass(&["jobs", "list"]).await);
    assert!(list.lines().next().unwrap().ends_with("; PAUSED"), "{list}");
    let document = office.json(&["jobs", "resume", "fulfil", "--json"]).await;
    assert_eq!(document, json!({"queue": "fulfil", "paused": false}));
    assert!(!office.world.queue.is_paused().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_terminal_would_obey_never_reaches_it_raw() {
    let office = Fixture::open().await;
    let evil = "evil\u{1b}[2J\u{9b}31m\u{202e}\r\n\u{7}x";
    office.kill(vec![work(evil).group("studio")]).await;
    for arguments in [
        &["jobs", "list"][..],
        &["jobs", "list", "--json"],
        &["jobs", "show", evil],
        &["jobs", "show", evil, "--json"],
        &["jobs", "show", "cs_\u{1b}[2J"],
        &["jobs", "retry", evil],
        &["jobs", "retry", "cs_\u{1b}[2J"],
        &["jobs", "discard", evil, "--json"],
        &["jobs", "list", "--queue", "\u{1b}[2J"],
    ] {
        let output = office.surepass(arguments).await;
        let all = stdout(&output) + &stderr(&output);
        let obeyed = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!all.contains(obeyed), "{arguments:?}: {all:?}");
        assert!(!all.is_empty());
    }
    assert_eq!(
        office.list(&of(JobState::Dead)).await.len(),
        0,
        "the odd id is understood all the same"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_away_exits_1_and_says_what_to_do() {
    let mut office = Fixture::open().await;
    office.kill_redis().await;
    for arguments in [
        &["jobs", "list"][..],
        &["jobs", "show", "a"],
        &["jobs", "pause", "fulfil"],
        &["workers", "list"],
    ] {
        let (status, text, errors) = said(&office.surepass(arguments).await);
        assert_eq!((status, text.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(
            errors.contains("Next: start Redis, or correct REDIS_URL, `redis"),
            "{errors}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_workers_list_shows_who_lives() {
    let office = Fixture::open().await;
    let none = stdout(&office.surepass(&["workers", "list"]).await);
    assert!(none.starts_with("No worker was seen in the last hour"), "{none}");
    let entry = r#"1700000000000 1700000000000 {"host":"h\u001b[2J","pid":7,"version":"0.1.0","concurrency":4,"lease":15000}"#;
    let fresh = entry.replace(
        "1700000000000",
        &office.page(&of(JobState::Dead), 1, None).await.now.to_string(),
    );
    let _: i64 = office
        .world
        .ask(&["HSET", &office.world.queue.key("workers"), "w", &fresh])
        .await;
    let table = stdout(&office.surepass(&["workers", "list"]).await);
    assert!(
        table.contains("alive") && table.contains("h\\u{1b}[2J") && table.contains("0/4"),
        "{table}"
    );
    let document = office.json(&["workers", "list", "--json"]).await;
    assert_eq!(
        (&document[0]["pid"], &document[0]["dead"]),
        (&json!(7), &json!(false))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn help_teaches_with_examples() {
    let office = Fixture::open().await;
    for (command, example) in [
        ("list", "surepass jobs list --state dead"),
        ("show", "surepass jobs show cs_test_a1B2"),
        ("retry", "surepass jobs retry --dead --error store_unavailable"),
        ("discard", "surepass jobs discard cs_test_a1B2 --why"),
    ] {
        let help = stdout(&office.surepass(&["jobs", command, "--help"]).await);
        assert!(help.contains(example), "{help}");
    }
}
