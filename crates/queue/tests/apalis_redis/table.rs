//! What is written of each fault, and what a probe sees of it today.

use std::fmt;

/// Where the table stands: this test reads it, so that it is written once.
pub(crate) const PLACE: &str = "docs/decisions/queue.md";
const TEXT: &str = include_str!("../../../../docs/decisions/queue.md");
const LOCK: &str = include_str!("../../../../Cargo.lock");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Present,
    Fixed,
    /// For the reason that the table gives.
    NotProbed,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Present => "present",
            Self::Fixed => "fixed",
            Self::NotProbed => "not probed",
        })
    }
}

/// A probe's answer, and what it has seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) answer: Answer,
    pub(crate) what: String,
}

pub(crate) fn present(what: impl Into<String>) -> Seen {
    let (answer, what) = (Answer::Present, what.into());
    Seen { answer, what }
}

pub(crate) fn fixed(what: impl Into<String>) -> Seen {
    let (answer, what) = (Answer::Fixed, what.into());
    Seen { answer, what }
}

/// A row: `| 3 | title | present |`.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) number: usize,
    pub(crate) title: &'static str,
    pub(crate) answer: Answer,
}

/// The faults with what is written of them.
pub(crate) fn written() -> Vec<Fault> {
    TEXT.lines().filter_map(fault).collect()
}

fn fault(line: &'static str) -> Option<Fault> {
    let cells: Vec<_> = line
        .strip_prefix("| ")?
        .strip_suffix(" |")?
        .split(" | ")
        .collect();
    let [number, title, answer] = cells[..] else {
        return None;
    };
    let number = number.parse().ok()?;
    let answer = match answer {
        "present" => Answer::Present,
        "fixed" => Answer::Fixed,
        _ if answer
            .strip_prefix("not probed: ")
            .is_some_and(|reason| !reason.is_empty()) =>
        {
            Answer::NotProbed
        }
        _ => panic!("{PLACE}: fault {number} is `present`, `fixed` or `not probed: reason`, not `{answer}`"),
    };
    Some(Fault {
        number,
        title,
        answer,
    })
}

/// Whether the table is of this version.
pub(crate) fn is_of(version: &str) -> bool {
    TEXT.contains(&format!("| | fault of `RedisStorage` {version} |"))
}

/// The version of apalis-redis that the probes run against.
pub(crate) fn version() -> &'static str {
    let (_, package) = LOCK
        .split_once("name = \"apalis-redis\"\nversion = \"")
        .expect("apalis-redis is locked");
    package.split('"').next().expect("a version ends")
}
