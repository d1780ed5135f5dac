//! What the doctor says where nobody has configured anything.

use support::program::{SUREPASS, command, run, stdout};

/// In an empty folder there is nothing to correct: nothing was ever set.
#[tokio::test]
async fn where_nothing_is_configured_it_says_so_and_how_to_begin() {
    // A Redis at the default address would be looked at.
    if tokio::net::TcpStream::connect("127.0.0.1:6379").await.is_ok() {
        eprintln!("skipped: something listens on Redis' default port");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").to_str().unwrap().to_owned();
    let environment = [("SUREPASS_DATA_DIR".to_owned(), data)];
    let mut asked = command(&SUREPASS, &["doctor"], &environment);
    asked.current_dir(folder.path());
    let doctor = run(asked).await;
    let page = stdout(&doctor);
    assert_eq!(doctor.status.code(), Some(1), "{page}");
    let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.starts_with("Settings, settings: nothing is configured here: "),
        "{page}"
    );
    assert!(
        words.contains("run `surepass up --demo` to see the whole system"),
        "{page}"
    );
    assert!(!words.contains("correct REDIS_URL"), "{page}");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing was made"
    );
    // With a word of configuration the rest is examined, and what is missing is named.
    let some = [
        &environment[..],
        &[("STRIPE_WEBHOOK_SECRET".to_owned(), "whsec_Hemmelig0".to_owned())],
    ]
    .concat();
    let mut asked = command(&SUREPASS, &["doctor"], &some);
    asked.current_dir(folder.path());
    let page = stdout(&run(asked).await);
    let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("REDIS_URL is not set, and this is the default"),
        "{page}"
    );
}
