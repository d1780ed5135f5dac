//! The modules import each other only as the table in ARCHITECTURE.md says: each only from rows below its own. So there are no
//! circles between them. What `crates/` may import, the compiler checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Imports that point up, each with the reason why it is left.
const EXCEPTIONS: [(&str, &str, &str); 0] = [];

/// How paths into our own modules begin.
const ROOTS: [&str; 2] = ["crate::", "surepass::"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of the table, from the top down: which modules each has in its first column.
fn rows() -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let table = text.split("| module | does | does not know |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let modules = row.split('|').nth(1).unwrap();
        let quoted = modules.split('`').skip(1).step_by(2);
        quoted.map(|name| name.trim_end_matches('/').to_owned()).collect()
    })
    .collect()
}

/// The files of Rust below a folder, without those that hold only tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

/// The first names of all paths below `roots`.
fn imports(source: &str, roots: &[&str]) -> BTreeSet<String> {
    let program = source.split("#[cfg(test)]\nmod ").next().unwrap();
    let code: String = program
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut names = BTreeSet::new();
    for root in roots {
        for (at, _) in code.match_indices(root) {
            // Of a longer name, or the target of a log line.
            if code[..at].ends_with(|c| is_name(c) || c == '"') {
                continue;
            }
            let rest = &code[at + root.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                names.extend(first_names(group));
                continue;
            }
            let name = rest.split(|c| !is_name(c)).next().unwrap();
            // A macro lies at the root, whichever module has it.
            if !rest[name.len()..].starts_with('!') {
                names.insert(name.to_owned());
            }
        }
    }
    // Constants and macros of the crate's root are no modules.
    names.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    names
}

/// Of `a::{b, c}, d}…`: `a` and `d`.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut name) = (0, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(std::mem::take(&mut name)),
            _ if depth == 0 => name.push(c),
            _ => {}
        }
    }
    names.push(name);
    let first = |name: String| name.trim().split("::").next().unwrap().to_owned();
    names
        .into_iter()
        .map(first)
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn a_module_imports_only_from_rows_below_its_own() {
    let rows = rows();
    let row_of: BTreeMap<&str, usize> = rows
        .iter()
        .enumerate()
        .flat_map(|(row, modules)| modules.iter().map(move |module| (module.as_str(), row)))
        .collect();
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("workers"), &mut files);
    let mut problems = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for file in &files {
        let path = file.strip_prefix(root()).unwrap();
        let mut parts = path.iter().map(|part| part.to_str().unwrap());
        let module = match (parts.next().unwrap(), parts.next().unwrap()) {
            ("src", "lib.rs") => continue,
            ("src", part) => part.trim_end_matches(".rs"),
            (program, _) => program,
        };
        seen.insert(module.to_owned());
        let Some(own) = row_of.get(module) else {
            problems.insert(format!("`{module}` is not in the table of ARCHITECTURE.md"));
            continue;
        };
        let source = fs::read_to_string(file).unwrap();
        // `crate` is the workers' own program there.
        let roots = if module == "workers" { &ROOTS[1..] } else { &ROOTS };
        for import in imports(&source, roots) {
            if import == module
                || EXCEPTIONS
                    .iter()
                    .any(|(from, to, _)| (*from, *to) == (module, &import))
            {
                continue;
            }
            let problem = match row_of.get(import.as_str()) {
                Some(row) if row > own => continue,
                Some(_) => format!("{}: `{import}` is not below `{module}`", path.display()),
                None => format!(
                    "{}: `{import}` is not in the table of ARCHITECTURE.md",
                    path.display()
                ),
            };
            problems.insert(problem);
        }
    }
    for module in row_of.keys() {
        let in_a_crate = ["crates/base/src", "crates"].iter().any(|folder| {
            root().join(folder).join(module).exists()
                || root().join(folder).join(format!("{module}.rs")).exists()
        });
        if !seen.contains(*module) && !in_a_crate {
            problems.insert(format!(
                "the table of ARCHITECTURE.md has `{module}`, which does not exist"
            ));
        }
    }
    assert!(files.len() > 200 && rows.len() > 10, "{} files", files.len());
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn paths_are_read_in_groups_and_alone_and_not_in_comments_or_tests() {
    let source = "use crate::{store::{A, B}, queue::C};\n// crate::http\nfn f() { crate::clock::now(); my_crate::x(); }\n\
                  #[cfg(test)]\nmod tests { use crate::up; }";
    let found: Vec<_> = imports(source, &ROOTS).into_iter().collect();
    assert_eq!(found, ["clock", "queue", "store"]);
}
