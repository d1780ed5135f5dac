//! The parts of the documentation that are written by the programs themselves: what `--help` prints, and the settings.

use std::fmt::Write as _;
use std::process::Command;

use support::program::{SUREPASS, WORKER};
use support::stripe_sandbox::SANDBOX;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SETTINGS: &str = include_str!("../../config/default.toml");
/// With this variable the tests write what they otherwise compare.
const WRITE: &str = "SUREPASS_WRITE_DOCS";
const HOW: &str = "SUREPASS_WRITE_DOCS=1 cargo test --locked --test system reference";

/// Compares the generated part of a page, between two comments, with what it should be.
fn is_up_to_date(page: &str, reference: &str) {
    let start = format!("<!-- What follows is generated: {HOW} -->\n");
    let end = "<!-- End of the generated part. -->\n";
    let path = format!("{ROOT}/docs/{page}");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text
        .split_once(&start)
        .expect("the page says where its generated part starts");
    let (written, after) = rest
        .split_once(end)
        .expect("the page says where its generated part ends");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(path, [before, &start, reference, end, after].concat()).unwrap();
        return;
    }
    if let Some((old, new)) = written
        .lines()
        .zip(reference.lines())
        .find(|(old, new)| old != new)
    {
        panic!("docs/{page} is out of date; write it anew with\n  {HOW}\nIt says:   {old}\nIt should: {new}");
    }
    assert!(
        written == reference,
        "docs/{page} is out of date; write it anew with\n  {HOW}"
    );
}

#[test]
fn the_commands_in_the_documentation_are_those_that_help_prints() {
    let mut reference = String::from("\n");
    for (name, program) in [
        ("surepass", &*SUREPASS),
        ("surepass-worker", &*WORKER),
        ("surepass-sandbox", &*SANDBOX),
    ] {
        describe(&mut reference, program, name, &[]);
    }
    is_up_to_date("cli.md", &reference);
}

/// Writes down a command and those below it.
fn describe(reference: &mut String, program: &str, name: &str, command: &[&str]) {
    let output = Command::new(program)
        .args(command)
        .arg("--help")
        .env_clear()
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let help: Vec<_> = help.lines().map(str::trim_end).collect();
    let usage = help.iter().position(|line| line.starts_with("Usage: ")).unwrap();
    let (about, usage) = help.split_at(usage);
    let title = [&[name], command].concat().join(" ");
    let level = if command.is_empty() { "##" } else { "###" };
    write!(reference, "{level} {title}\n\n{}\n", about.join("\n")).unwrap();
    let section = |heading: &str| {
        let lines = usage.iter().skip_while(|line| **line != heading).skip(1);
        lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let commands: Vec<_> = section("Commands:")
        .into_iter()
        .filter(|line| !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|name| *name != "help")
        .collect();
    // What only lists its commands is said by their headings.
    if commands.is_empty() {
        write!(reference, "```text\n{}\n```\n\n", without_help(usage)).unwrap();
    }
    for below in commands {
        describe(reference, program, name, &[command, &[below]].concat());
    }
}

/// The lines without the options that every command has.
fn without_help(lines: &[&str]) -> String {
    let mut kept = String::new();
    let mut left_out = false;
    for line in lines {
        let option = line.trim_start();
        if option.starts_with("-h, --help") || option.starts_with("-V, --version") {
            left_out = true;
        } else if line.is_empty() || !line.starts_with("     ") || option.starts_with("--") {
            left_out = false;
        }
        if !left_out {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    let kept = kept.trim_end();
    kept.strip_suffix("\n\nOptions:").unwrap_or(kept).to_owned()
}

#[test]
fn the_settings_in_the_documentation_are_those_of_the_default_file() {
    let groups = groups(SETTINGS);
    let mut reference = String::from("\n| variable | setting | default |\n| --- | --- | --- |\n");
    for key in groups.iter().flat_map(|group| &group.keys) {
        if let Some(variable) = &key.variable {
            let anchor = key
                .name
                .rsplit_once('.')
                .map_or("data_dir", |(section, _)| section);
            let link = format!("[`{}`](#{})", key.name, anchor.replace('.', ""));
            writeln!(reference, "| `{variable}` | {link} | {} |", key.default()).unwrap();
        }
    }
    for group in &groups {
        if let Some(heading) = &group.heading {
            write!(reference, "\n### {heading}\n\n").unwrap();
        }
        let text = marked_up(&group.text);
        if group.keys.is_empty() {
            if !text.is_empty() {
                write!(reference, "{text}\n\n").unwrap();
            }
            continue;
        }
        let keys: Vec<_> = group.keys.iter().map(Key::described).collect();
        let line = format!("- {}. {text}", keys.join(", "));
        writeln!(reference, "{}", line.trim_end()).unwrap();
    }
    reference.push('\n');
    is_up_to_date("configuration.md", &reference);
}

/// A comment as Markdown: addresses as code, pages as links.
fn marked_up(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let bare = word
            .trim_start_matches('(')
            .trim_end_matches([')', '.', ',', ';', ':']);
        if bare.contains("://") && !bare.contains('`') {
            word.replace(bare, &format!("`{}`", bare.trim_matches('"')))
        } else if let Some(page) = bare.strip_prefix("docs/") {
            word.replace(bare, &format!("[{page}]({page})"))
        } else {
            word.replace('<', "&lt;")
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Settings that share a comment, or the comment of a whole section.
#[derive(Default)]
struct Group {
    heading: Option<String>,
    text: String,
    keys: Vec<Key>,
}

struct Key {
    name: String,
    value: String,
    variable: Option<String>,
}

impl Key {
    fn default(&self) -> String {
        match self.value.trim_matches('"') {
            "" | "[]" => "empty".to_owned(),
            value => format!("`{value}`"),
        }
    }

    fn described(&self) -> String {
        let variable = self.variable.as_ref().map(|variable| format!("`{variable}`, "));
        format!(
            "**`{}`** ({}default {})",
            self.name,
            variable.unwrap_or_default(),
            self.default()
        )
    }
}

/// Reads the file as it is laid out: a comment belongs to the settings, or to the section, that follow it at once.
fn groups(file: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut section = String::new();
    let mut comment: Vec<&str> = Vec::new();
    let (_, settings) = file.split_once("\n\n").expect("a comment on the whole file");
    for line in settings.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
        } else if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
            groups.push(Group {
                heading: Some(format!("[{section}]")),
                text: std::mem::take(&mut comment).join(" "),
                keys: Vec::new(),
            });
        } else if let Some((name, rest)) = line.split_once(" = ") {
            let (value, variable) = match rest.rsplit_once(" # ") {
                Some((value, variable)) => (value.trim(), Some(variable.trim().to_owned())),
                None => (rest.trim(), None),
            };
            let text = std::mem::take(&mut comment).join(" ");
            let heading = section.is_empty().then(|| name.to_owned());
            if !text.is_empty() || groups.last().is_none_or(|group| group.keys.is_empty()) {
                groups.push(Group {
                    heading,
                    text,
                    ..Group::default()
                });
            }
            let dot = if section.is_empty() { "" } else { "." };
            let name = format!("{section}{dot}{name}");
            let key = Key {
                name,
                value: value.to_owned(),
                variable,
            };
            groups.last_mut().unwrap().keys.push(key);
        } else {
            assert_eq!(line, "", "config/default.toml has a line that is not understood");
        }
    }
    groups
}
