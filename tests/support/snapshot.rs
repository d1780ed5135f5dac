//! Texts as they come out, kept in `tests/snapshots`: what changes in one is reviewed as that file's difference.
//! `INSTA_UPDATE=always cargo test …` writes them.

use insta::Settings;

/// What differs from run to run, and what stands for it.
const FILTERS: &[(&str, &str)] = &[
    (r"\bcs_test_[A-Za-z0-9]+", "cs_test_ID"),
    (r"[0-9A-HJKMNP-TV-Z]{26}\b", "ULID"),
    (r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?", "DATE TIME"),
    (r"\b\d{4}-\d\d-\d\d\b", "DATE"),
    (r"\b[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}\b", "REFERENCE"),
    (r"\b(after|in) \d+ (ms|s|min|h|days)\b", "$1 TIME"),
    (r"\b\d+ (ms|s|min|h|days) ago\b", "AGO"),
    (r"AGO +(\S)", "AGO  $1"),
    (r"\b\d+(\.\d+)? ms\b", "TIME"),
    (r"127\.0\.0\.1:\d+", "ADDRESS"),
    (r"/\S+/redis\.sock", "/FOLDER/redis.sock"),
    (r"/\S+/surepass\.db", "/FOLDER/surepass.db"),
    (r"\b\d+(\.\d+)? [MGk]?B\b", "SIZE"),
    (r"\(\d+ %\)", "(PERCENT)"),
    (r"(redis|valkey) \d+\.\d+\.\d+", "redis VERSION"),
    (r"\(version \d+\)", "(version N)"),
    (r"\?v=[0-9a-f]{16}", "?v=HASH"),
];

/// Compares a text with `tests/snapshots/NAME.snap`. `own`: what differs from run to run beside the usual; `None`: nothing does.
pub fn check(name: &str, text: &str, own: Option<&[(&str, &str)]>) {
    let mut settings = Settings::new();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, stand_in) in own.into_iter().flat_map(|own| own.iter().chain(FILTERS)) {
        settings.add_filter(pattern, *stand_in);
    }
    settings.bind(|| insta::assert_snapshot!(name, text));
}
