//! Where commands look whose settings name no store: and that those that only look change nothing.

use std::path::Path;
use std::process::Output;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use support::program::{Program, SUREPASS, command, run, stderr, stdout};
use support::shop::{EXAMPLE_CATALOG, Shop};

/// With nothing set but what keeps a machine's own servers out of it.
fn settings() -> Vec<(String, String)> {
    let path = std::env::var("PATH").unwrap_or_default();
    [
        (
            "PATH",
            format!("{}/.tools/bin:{path}", env!("CARGO_MANIFEST_DIR")),
        ),
        ("SUREPASS_BIND", "127.0.0.1:0".to_owned()),
        ("SUREPASS_METRICS_BIND", "127.0.0.1:0".to_owned()),
        ("STRIPE_SECRET_KEY", "sk_test_HemmeligKey".to_owned()),
        ("STRIPE_API_BASE", "http://127.0.0.1:9".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

async fn surepass(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = command(&SUREPASS, arguments, &settings());
    command.current_dir(folder);
    run(command).await
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

const READING: [&[&str]; 5] = [
    &["catalog", "list"],
    &["catalog", "list", "--json"],
    &["subscriptions", "list"],
    &["subscriptions", "list", "--json"],
    &["reconcile"],
];

#[tokio::test]
async fn a_command_that_looks_in_a_wrong_folder_creates_nothing_and_never_answers_that_nothing_is_there() {
    let folder = TempDir::new().unwrap();
    let others: [&[&str]; 3] = [&["jobs", "list"], &["sync", "--all"], &["doctor"]];
    for arguments in READING.into_iter().chain(others) {
        let output = surepass(folder.path(), arguments).await;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(files(folder.path()).is_empty(), "{arguments:?}");
    }
    for arguments in READING {
        let output = surepass(folder.path(), arguments).await;
        let error = stderr(&output);
        let file = folder.path().canonicalize().unwrap().join("surepass.db");
        assert!(
            error.contains(&format!("there is no SQLite file {}", file.display()))
                && error.contains("DATABASE_URL")
                && error.contains("SUREPASS_DATA_DIR"),
            "{error}"
        );
        assert!(stdout(&output).is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_command_that_looks_migrates_nothing() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("surepass.db");
    std::fs::write(&file, "").unwrap();
    for arguments in READING {
        let output = surepass(folder.path(), arguments).await;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let error = stderr(&output);
        assert!(
            error.contains("no tables") && error.contains("surepass migrate"),
            "{error}"
        );
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 0, "{arguments:?}");
    }
}

#[tokio::test]
async fn a_store_that_may_only_be_read_is_read() {
    let mut shop = Shop::empty("").await;
    shop.import_example().await;
    let url = format!("{}?mode=ro", shop.setting("DATABASE_URL"));
    shop.set("DATABASE_URL", &url);
    let list = shop.json(&["catalog", "list", "--json"]).await;
    assert_eq!(list["tenants"].as_array().unwrap().len(), 1);
    assert_eq!(
        shop.json(&["subscriptions", "list", "--json"]).await,
        serde_json::json!([])
    );
}

#[tokio::test]
async fn commands_without_addresses_use_the_up_that_runs_here_and_say_so() {
    let folder = TempDir::new().unwrap();
    let example = surepass(folder.path(), &["catalog", "example"]).await;
    std::fs::write(folder.path().join("catalog.toml"), example.stdout).unwrap();
    let up = || {
        let mut command = command(&SUREPASS, &["up"], &settings());
        command.current_dir(folder.path());
        Program::start(command)
    };
    let import = ["catalog", "import", "catalog.toml"];

    let mut running = up();
    running.says("Surepass is up.").await;
    for arguments in [&import[..], &["jobs", "list"], &["catalog", "list"]] {
        let output = surepass(folder.path(), arguments).await;
        let told = stderr(&output);
        assert!(output.status.success(), "{arguments:?}: {told}");
        assert!(
            told.contains(
                "using the `surepass up` that is running in data (REDIS_URL, DATABASE_URL and STRIPE_WEBHOOK_SECRET not set)"
            ),
            "{told}"
        );
    }
    let doctor = stdout(&surepass(folder.path(), &["doctor"]).await);
    assert!(
        doctor.contains("webhook secret  1 set") && !doctor.contains("STRIPE_WEBHOOK_SECRET"),
        "the secret that this `up` accepts: {doctor}"
    );
    running.signal(Signal::SIGTERM);
    running.ended().await;
    assert!(!folder.path().join("surepass.db").exists());
    let list = surepass(folder.path(), &["catalog", "list"]).await;
    assert!(stdout(&list).contains("pass-10"), "{}", stderr(&list));
    assert!(
        stderr(&list).contains("using data/surepass.db, the store of `surepass up`"),
        "{}",
        stderr(&list)
    );
}

#[tokio::test]
async fn commands_without_addresses_find_the_demo_that_runs_here_too() {
    let folder = TempDir::new().unwrap();
    let mut command = command(&SUREPASS, &["up", "--demo"], &settings());
    command.current_dir(folder.path());
    let mut running = Program::start(command);
    running.says("/pay/cs_test_").await;
    let list = surepass(folder.path(), &["subscriptions", "list"]).await;
    assert!(stdout(&list).contains("cs_test_"), "{}", stderr(&list));
    assert!(
        stderr(&list).contains("using the `surepass up` that is running in data/demo"),
        "{}",
        stderr(&list)
    );
    running.signal(Signal::SIGTERM);
    running.ended().await;
}

/// The first steps of docs/quickstart.md, from an empty folder.
#[tokio::test]
async fn what_was_imported_before_the_first_up_is_what_up_sells() {
    let folder = TempDir::new().unwrap();
    let imported = surepass(folder.path(), &["catalog", "import", EXAMPLE_CATALOG]).await;
    assert!(imported.status.success(), "{}", stderr(&imported));
    let mut command = command(&SUREPASS, &["up"], &settings());
    command.current_dir(folder.path());
    let mut up = Program::start(command);
    up.says("Surepass is up.").await;
    let list = surepass(folder.path(), &["catalog", "list"]).await;
    assert!(stdout(&list).contains("pass-10"), "{}", stderr(&list));
    assert!(!folder.path().join("data/surepass.db").exists());
    up.signal(Signal::SIGTERM);
    assert!(up.ended().await.success(), "{}", up.said());
}

#[tokio::test]
async fn what_up_keeps_can_be_read_by_its_user_alone() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = command(&SUREPASS, &["up"], &settings());
    command.current_dir(folder.path());
    let mut up = Program::start(command);
    up.says("Surepass is up.").await;
    let mut left = vec![data];
    while let Some(path) = left.pop() {
        let found = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(found.mode() & 0o077, 0, "{}", path.display());
        if found.is_dir() {
            left.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .flatten()
                    .map(|entry| entry.path()),
            );
        }
    }
    up.signal(Signal::SIGTERM);
    assert!(up.ended().await.success(), "{}", up.said());
}
