//! `surepass up`: everything on one machine.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use surepass::up::sample::SampleSession;
use tempfile::TempDir;

use support::program::{PATIENCE, Program, SUREPASS, command, processes_of, run, stderr, stdout};
use support::shop::{COMPLETED, EXAMPLE_CATALOG, check_output, now, signed};
use support::stripe_sandbox::SANDBOX;

/// A machine with a folder for the data and nothing configured.
pub(crate) struct Machine {
    folder: TempDir,
    pub(crate) environment: Vec<(String, String)>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        // The demo starts it, too.
        LazyLock::force(&SANDBOX);
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::create_dir(folder.path().join("config")).unwrap();
        let environment = [
            ("SUREPASS_CONFIG", path("config")),
            ("SUREPASS_DATA_DIR", path("data")),
            ("SUREPASS_BIND", "127.0.0.1:0".to_owned()),
            ("SUREPASS_SERVER_METRICS_BIND", "127.0.0.1:0".to_owned()),
            ("SUREPASS_METRICS_BIND", "127.0.0.1:0".to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Self { folder, environment }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn up(&self) -> Program {
        Program::start(command(&SUREPASS, &["up"], &self.environment))
    }

    async fn surepass(&self, arguments: &[&str]) -> std::process::Output {
        run(command(&SUREPASS, arguments, &self.environment)).await
    }

    /// Waits until nothing of it runs, or nothing but its Redis.
    pub(crate) async fn left(&self, redis: bool) {
        let mut running = Vec::new();
        let leaving = async {
            loop {
                running = processes_of(self.path());
                let is_redis = |name: &str| matches!(name, "redis-server" | "valkey-server");
                if running.iter().all(|(_, name)| redis && is_redis(name)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let left = tokio::time::timeout(PATIENCE, leaving).await;
        assert!(left.is_ok(), "still there: {running:?}");
    }

    /// Kills those of its processes whose name ends so.
    fn kill(&self, name: &str) {
        for (pid, _) in processes_of(self.path())
            .iter()
            .filter(|(_, its)| its.ends_with(name))
        {
            kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
        }
    }

    /// Buys ten classes at the address that `up` has told, as often as it takes until that is accepted.
    async fn buy(&self, up: &Program, unique: &str) -> String {
        let line = up.says("Surepass is up.").await;
        let url = line
            .split_whitespace()
            .find(|word| word.ends_with("/webhooks/stripe"))
            .unwrap();
        let secret = std::fs::read_to_string(self.path().join("data/webhook-secret")).unwrap();
        let session = SampleSession::ten_classes(unique, now());
        let body = session.event(COMPLETED, 1);
        let client = surepass::http_client::http().build().unwrap();
        let buying = async {
            loop {
                let request = client
                    .post(url)
                    .header("Stripe-Signature", signed(&secret, &body));
                match request.body(body.clone()).send().await {
                    Ok(answer) if answer.status() == 200 => return,
                    Ok(answer) => assert_eq!(answer.status(), 503),
                    Err(error) => assert!(error.is_connect() || error.is_request(), "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, buying)
            .await
            .expect("it is accepted");
        session.session_id()
    }

    /// Waits until the subscriptions are those of these sessions.
    async fn holds(&self, sessions: &[String]) {
        let mut held = Vec::new();
        let coming = async {
            while held != sessions {
                let list = self.surepass(&["subscriptions", "list", "--json"]).await;
                let list: Vec<serde_json::Value> = serde_json::from_str(&stdout(&list)).unwrap();
                held = list
                    .iter()
                    .map(|one| one["stripeSessionId"].as_str().unwrap().to_owned())
                    .collect();
                held.sort();
            }
        };
        let came = tokio::time::timeout(PATIENCE, coming).await;
        assert!(came.is_ok(), "{held:?}");
    }
}

#[tokio::test]
async fn the_demo_ends_with_0_with_every_outcome_right_and_leaves_no_process_behind() {
    let machine = Machine::new();
    let mut demo = Program::start(command(
        &SUREPASS,
        &["up", "--demo", "--exit-when-done"],
        &machine.environment,
    ));
    let status = demo.ended().await;
    let said = demo.said();
    assert!(status.success() && said.contains(" 0 wrong"), "{said}");
    machine.left(false).await;
    check_output(&said);
    assert!(
        said.contains("the lookback found 20 → 20 subscriptions"),
        "{said}"
    );
    for scene in [
        "✓ no metadata at all: ",
        "✓ two endpoints in one Stripe account: ",
        "✓ a guest's purchase, claimed by signing in later ",
    ] {
        assert!(said.contains(scene), "{scene}: {said}");
    }
    // Apart from where the data are, everything fits a terminal.
    let path = machine.path().to_str().unwrap();
    let wide = said
        .lines()
        .find(|line| line.chars().count() > 80 && !line.contains(path) && !line.contains("http"));
    assert_eq!(wide, None);
    for log in ["server.log", "worker.log", "sandbox.log"] {
        check_output(&std::fs::read_to_string(machine.path().join("data/demo").join(log)).unwrap());
    }
}

#[tokio::test]
async fn the_doctor_finds_nothing_wrong_at_the_end_of_the_demo() {
    let machine = Machine::new();
    let mut up = Program::start(command(&SUREPASS, &["up", "--demo"], &machine.environment));
    up.says("/pay/cs_test_").await;
    let file = machine.path().join("data/demo/environment");
    let script = format!(". '{}'; exec \"$0\" doctor", file.display());
    // The worker audits the endpoints a moment after its start, and sweeps the last month.
    let examined = async {
        loop {
            let doctor = run(command(
                "/bin/sh",
                &["-c", &script, &SUREPASS],
                &machine.environment,
            ))
            .await;
            if doctor.status.success() {
                return stdout(&doctor);
            }
            let wrong = stdout(&doctor);
            assert!(!wrong.contains("Purchases\n  ✗"), "{wrong}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let page = support::program::awaited("a doctor who finds nothing wrong", examined).await;
    assert!(
        page.starts_with("Nothing is wrong: everybody who paid has a pass"),
        "{page}"
    );
    // It looks at the demo's own settings, in the demo's own folder.
    assert!(page.contains("tokens verified with a shared secret"), "{page}");
    let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("data/demo: writable for `surepass up`"), "{page}");
    assert!(
        words.contains(" last slot 20") && words.contains(" UTC, enqueued; next slot in "),
        "{page}"
    );
    // What it was told of is for this user alone.
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    up.signal(Signal::SIGTERM);
    assert!(up.ended().await.success(), "{}", up.said());
    machine.left(false).await;
}

#[tokio::test]
async fn a_demo_that_is_interrupted_has_not_shown_that_all_is_right_and_exits_1() {
    let machine = Machine::new();
    let arguments = ["up", "--demo", "--exit-when-done"];
    let mut demo = Program::start(command(&SUREPASS, &arguments, &machine.environment));
    demo.says("a pass of 10 classes").await;
    demo.signal(Signal::SIGTERM);
    let status = demo.ended().await;
    assert_eq!(status.code(), Some(1), "{}", demo.said());
    assert!(!demo.said().contains(" wrong."), "it was over: {}", demo.said());
    machine.left(false).await;
}

#[tokio::test]
async fn a_pass_bought_by_hand_on_the_demos_hosted_page_arrives() {
    let machine = Machine::new();
    let mut up = Program::start(command(&SUREPASS, &["up", "--demo"], &machine.environment));
    let page = up.says("/pay/cs_test_").await.trim().to_owned();
    let client = surepass::http_client::http().build().unwrap();
    let shown = client.get(&page).send().await.unwrap().text().await.unwrap();
    assert!(shown.contains("10 classes"), "{shown}");
    let paid = client
        .post(&page)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body("email=by-hand%40example.com&pay=card");
    let paid = paid.send().await.unwrap();
    assert!(paid.status().is_success(), "{paid:?}");
    let session = page.rsplit('/').next().unwrap();
    let environment = [("DATABASE_URL".to_owned(), {
        let file = machine.path().join("data/demo/surepass.db");
        format!("sqlite://{}", file.display())
    })];
    let coming = async {
        loop {
            let arguments = ["subscriptions", "list", "--session", session, "--json"];
            let list = run(command(&SUREPASS, &arguments, &environment)).await;
            let list: Vec<serde_json::Value> = serde_json::from_str(&stdout(&list)).unwrap();
            if let Some(one) = list.first() {
                return one["createdVia"].clone();
            }
        }
    };
    assert_eq!(support::program::awaited("the pass", coming).await, "webhook");
    up.signal(Signal::SIGTERM);
    assert!(up.ended().await.success(), "{}", up.said());
    machine.left(false).await;
}

#[tokio::test]
async fn up_killed_leaves_no_server_or_worker_behind_and_starts_again_on_the_same_data() {
    let machine = Machine::new();
    let mut up = machine.up();
    up.says("Surepass is up.").await;
    let imported = machine.surepass(&["catalog", "import", EXAMPLE_CATALOG]).await;
    assert!(imported.status.success(), "{}", stderr(&imported));
    let first = machine.buy(&up, "FIRST").await;
    machine.holds(std::slice::from_ref(&first)).await;
    up.killed().await;
    // Its Redis holds the data until the next start asks it to end.
    machine.left(true).await;

    let mut up = machine.up();
    let second = machine.buy(&up, "SECOND").await;
    machine.holds(&[first, second]).await;
    up.signal(Signal::SIGTERM);
    assert!(up.ended().await.success(), "{}", up.said());
    machine.left(false).await;
}

#[tokio::test]
async fn a_worker_or_redis_that_dies_under_up_is_started_again() {
    let machine = Machine::new();
    let mut up = machine.up();
    up.says("Surepass is up.").await;
    machine.surepass(&["catalog", "import", EXAMPLE_CATALOG]).await;
    let mut sessions = vec![machine.buy(&up, "A").await];
    machine.holds(&sessions).await;
    for (name, told) in [
        ("surepass-worker", r#""name":"worker""#),
        // `redis-server` or `valkey-server`.
        ("-server", "Redis exited; restarting it"),
    ] {
        machine.kill(name);
        up.says(told).await;
        sessions.push(machine.buy(&up, &format!("B{}", sessions.len())).await);
        machine.holds(&sessions).await;
    }
    up.signal(Signal::SIGINT);
    assert!(up.ended().await.success(), "{}", up.said());
    machine.left(false).await;
}

#[tokio::test]
async fn a_demo_started_by_a_shell_that_has_sourced_the_last_ones_environment_uses_the_same_folder() {
    let machine = Machine::new();
    let demo = machine.path().join("data/demo");
    let file = demo.join("environment");
    let sourced = format!(". '{}'; exec \"$0\" up --demo", file.display());
    for start in [
        command(&SUREPASS, &["up", "--demo"], &machine.environment),
        command("/bin/sh", &["-c", &sourced, &SUREPASS], &machine.environment),
    ] {
        let mut up = Program::start(start);
        up.says("Surepass is up.").await;
        let data = up.says("Data: ").await;
        assert!(data.contains(&format!("{}  ", demo.display())), "{data}");
        up.signal(Signal::SIGTERM);
        assert!(up.ended().await.success(), "{}", up.said());
        machine.left(false).await;
    }
}

#[tokio::test]
async fn a_second_up_on_the_same_folder_is_refused() {
    let machine = Machine::new();
    let mut up = machine.up();
    up.says("Surepass is up.").await;
    let second = machine.surepass(&["up"]).await;
    assert_eq!(second.status.code(), Some(1));
    let error = stderr(&second);
    assert!(
        error.contains("another `surepass up` is running in") && error.contains("SUREPASS_DATA_DIR"),
        "{error}"
    );
    machine.buy(&up, "UNHARMED").await;
    up.signal(Signal::SIGTERM);
    assert!(up.ended().await.success());
    machine.left(false).await;
}

#[tokio::test]
async fn without_a_redis_server_on_the_path_one_line_says_how_to_get_it() {
    let machine = Machine::new();
    let mut command = command(&SUREPASS, &["up"], &machine.environment);
    let output = run({
        command.env("PATH", machine.path()).current_dir(machine.path());
        command
    })
    .await;
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(
        error.contains("redis-server") && error.contains("apt-get install"),
        "{error}"
    );
}
