//! The modules import each other only as the table in ARCHITECTURE.md says: each only from rows below its own. So there are no
//! circles between them. Within a folder the modules import each other in no circle. What `crates/` may import, the compiler checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Imports that point up, each with the reason why it is left.
const EXCEPTIONS: [(&str, &str, &str); 0] = [];

/// The modules of a folder that import each other in a circle, with the reason why it is left.
const CIRCLES: [(&str, &[&str], &str); 6] = [
    (
        "commands",
        &["jobs", "owner", "unmatched"],
        "they word their operators and outcomes with each other's helpers",
    ),
    (
        "fulfil",
        &["job", "purchase"],
        "a job's payload is a purchase, which has the version of that payload",
    ),
    (
        "lookback::reconciliation",
        &["owner", "reconciler"],
        "one type whose methods are in two files",
    ),
    (
        "store",
        &["database", "postgres", "sqlite"],
        "`database` dispatches to both, which implement its `Dialect`",
    ),
    (
        "stripe::api",
        &["client", "pages"],
        "an account starts a list, whose pages it then fetches",
    ),
    (
        "telemetry",
        &["otlp", "trace"],
        "the exporter reads a trace's parent, a trace asks whether it is exported",
    ),
];

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

/// The paths below `roots` in a program's text, without its comments and tests.
fn paths(source: &str, roots: &[&str]) -> Vec<Vec<String>> {
    let program = source.split("#[cfg(test)]\nmod ").next().unwrap();
    let code: String = program
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut found = Vec::new();
    for root in roots {
        for (at, _) in code.match_indices(root) {
            // Not within a longer name or path, and not the target of a log line.
            if !code[..at].ends_with(|c| is_name(c) || c == '"' || c == ':') {
                read_path(&code[at + root.len()..], Vec::new(), &mut found);
            }
        }
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Of `a::{b, c::d}…`: `a::b` and `a::c::d`.
fn read_path(text: &str, mut path: Vec<String>, found: &mut Vec<Vec<String>>) {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        let (mut depth, mut begin) = (0, 0);
        for (at, c) in group.char_indices() {
            if depth == 0 && (c == ',' || c == '}') && !group[begin..at].trim().is_empty() {
                read_path(&group[begin..at], path.clone(), found);
            }
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => return,
                '}' => depth -= 1,
                ',' if depth == 0 => begin = at + 1,
                _ => {}
            }
        }
        return;
    }
    let name = text.split(|c| !is_name(c)).next().unwrap();
    let rest = &text[name.len()..];
    // A macro lies at the root, whichever module has it. Constants and types are no modules.
    if name.starts_with(|c: char| c.is_ascii_lowercase()) && !rest.starts_with('!') {
        path.push(name.to_owned());
        if let Some(rest) = rest.strip_prefix("::") {
            return read_path(rest, path, found);
        }
    }
    if !path.is_empty() {
        found.push(path);
    }
}

/// The first names of all paths below `roots`.
fn imports(source: &str, roots: &[&str]) -> BTreeSet<String> {
    let paths = paths(source, roots).into_iter();
    paths.map(|mut path| path.remove(0)).collect()
}

/// The module of a file: `src/http/page/mod.rs` is `http::page`.
fn module_of(file: &Path) -> Vec<String> {
    let path = file.strip_prefix(root().join("src")).unwrap().with_extension("");
    let mut module: Vec<_> = path
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    module.pop_if(|name| name == "mod");
    module
}

/// The modules of one folder, each with those of the same folder that it imports.
type Siblings = BTreeMap<String, BTreeSet<String>>;

/// The modules of each folder below `src`. What the folders themselves may import is in the table.
fn siblings() -> BTreeMap<String, Siblings> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let modules: BTreeSet<_> = files.iter().map(|file| module_of(file)).collect();
    let mut folders: BTreeMap<String, Siblings> = BTreeMap::new();
    for file in &files {
        let (own, source) = (module_of(file), fs::read_to_string(file).unwrap());
        let relative = paths(&source, &["super::"]).into_iter().map(|path| {
            let up = path.iter().take_while(|name| *name == "super").count();
            [&own[..own.len().saturating_sub(up + 1)], &path[up..]].concat()
        });
        for import in paths(&source, &["crate::"]).into_iter().chain(relative) {
            let same = own
                .iter()
                .zip(&import)
                .take_while(|(one, other)| one == other)
                .count();
            let is_module = import.len() > same && modules.contains(&import[..=same]);
            if same > 0 && own.len() > same && is_module {
                let folder = folders.entry(own[..same].join("::")).or_default();
                let imported = folder.entry(own[same].clone()).or_default();
                imported.insert(import[same].clone());
            }
        }
    }
    folders
}

/// Whether following the imports of a module leads back to it.
fn is_in_circle(module: &str, folder: &Siblings) -> bool {
    let (mut reached, mut next) = (BTreeSet::new(), vec![module]);
    while let Some(one) = next.pop() {
        for import in folder.get(one).into_iter().flatten() {
            if reached.insert(import.as_str()) {
                next.push(import);
            }
        }
    }
    reached.contains(module)
}

#[test]
fn the_modules_of_a_folder_do_not_import_each_other_in_a_circle() {
    let folders = siblings();
    assert!(folders["http"]["page"].contains("customer"), "{folders:#?}");
    let mut circles = BTreeMap::new();
    for (name, folder) in &folders {
        let modules: Vec<_> = folder.keys().map(String::as_str).collect();
        let modules: Vec<_> = modules
            .into_iter()
            .filter(|one| is_in_circle(one, folder))
            .collect();
        if !modules.is_empty() {
            circles.insert(name.as_str(), modules);
        }
    }
    let left: BTreeMap<_, _> = CIRCLES
        .iter()
        .map(|(folder, modules, _)| (*folder, modules.to_vec()))
        .collect();
    assert_eq!(
        circles, left,
        "the modules in circles (left), and those in CIRCLES (right)"
    );
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
