//! The page's messages in each language: `config/locales/*.toml`, and what the configured folder adds or overrides.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use icu_locale_core::Locale;
use icu_plurals::{PluralCategory, PluralRules};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

const ENGLISH: &str = "en";
/// The languages that are compiled in. English is the reference of all.
const COMPILED_IN: [(&str, &str); 2] = [
    (ENGLISH, include_str!("../../../config/locales/en.toml")),
    ("nb", include_str!("../../../config/locales/nb.toml")),
];
const CATEGORIES: [&str; 6] = ["zero", "one", "two", "few", "many", "other"];

/// Why a locale file is refused.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = .path.display())]
pub struct LocaleError {
    path: PathBuf,
    reason: String,
}

/// A language of the page.
#[derive(Debug)]
pub(super) struct Language {
    pub(super) tag: String,
    pub(super) locale: Locale,
    pub(super) words: Words,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Words {
    pub(super) language: About,
    pub(super) script: Script,
    pub(super) page: Notices,
    pub(super) price: Price,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) also: Vec<String>,
}

/// The messages of both the page and its script.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    pub(super) missing_pass: String,
    pub(super) missing_pass_hint: String,
    busy: String,
    pub(super) confirming: String,
    pub(super) active: String,
    pub(super) exchanged: String,
    pub(super) has_ended: String,
    pub(super) late: String,
    pub(super) pending: String,
    pub(super) declined: String,
    pub(super) expired: String,
    pub(super) unpaid: String,
    pub(super) problem: String,
    pub(super) problem_quoted: String,
    pub(super) unmatched: String,
    pub(super) closed: String,
    pub(super) refunded: String,
    pub(super) not_a_pass: String,
    pub(super) syncing: String,
    pub(super) found: Text,
    pub(super) already: String,
    pub(super) none: String,
    pub(super) failed: String,
    pub(super) under_way: String,
    too_many: String,
    signed_out: String,
    pub(super) sign_in: String,
    pub(super) active_heading: String,
    pub(super) expired_heading: String,
    pub(super) no_active: String,
    pub(super) classes_left: Text,
    pub(super) classes_left_of: Text,
    pub(super) unlimited: String,
    pub(super) valid_until: String,
    pub(super) ended: String,
    pub(super) switched_off: String,
}

/// The messages of the page only.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Notices {
    pub(super) title: String,
    pub(super) languages: String,
    pub(super) sign_in_title: String,
    pub(super) sign_in_text: String,
    pub(super) sign_in_at_shop: String,
    pub(super) not_found_title: String,
    pub(super) not_found_text: String,
    pub(super) too_many_title: String,
    pub(super) too_many_text: String,
    pub(super) away_title: String,
    pub(super) away_text: String,
    pub(super) off_title: String,
    pub(super) off_text: String,
    pub(super) forbidden_title: String,
    pub(super) forbidden_text: String,
    pub(super) wrong_title: String,
    pub(super) wrong_text: String,
    pub(super) to_passes: String,
    pub(super) again: String,
}

/// How a price is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Price {
    pub(super) with_symbol: String,
    pub(super) with_code: String,
    /// By the currency's code, lower case.
    pub(super) symbols: BTreeMap<String, String>,
}

/// A text that may have a form for each plural category of its language.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Text {
    Same(String),
    /// By CLDR's name of the category. `other` is always there.
    Plural(BTreeMap<String, String>),
}

impl Language {
    /// The form that goes with `count`.
    pub(super) fn form<'a>(&self, text: &'a Text, count: u64) -> &'a str {
        let forms = match text {
            Text::Same(text) => return text,
            Text::Plural(forms) => forms,
        };
        let rules = PluralRules::try_new_cardinal((&self.locale).into());
        let category = match rules.map(|rules| rules.category_for(count)) {
            Ok(PluralCategory::Zero) => "zero",
            Ok(PluralCategory::One) => "one",
            Ok(PluralCategory::Two) => "two",
            Ok(PluralCategory::Few) => "few",
            Ok(PluralCategory::Many) => "many",
            Ok(PluralCategory::Other) | Err(_) => "other",
        };
        let form = forms.get(category).or_else(|| forms.get("other"));
        form.map_or("", String::as_str)
    }
}

/// The text with its `{…}` replaced. The values are not searched for `{…}` again.
pub(super) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let known = after.split_once('}').and_then(|(name, after)| {
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            Some((value, after))
        });
        if let Some((value, after)) = known {
            filled.push_str(value);
            rest = after;
        } else {
            filled.push('{');
            rest = after;
        }
    }
    filled.push_str(rest);
    filled
}

/// English first, then the others by their tags.
///
/// # Errors
/// [`LocaleError`] with the first thing that is wrong.
pub(super) fn load(folder: &Path) -> Result<Vec<Language>, LocaleError> {
    let mut sources: BTreeMap<String, Vec<(PathBuf, Table)>> = BTreeMap::new();
    for (tag, text) in COMPILED_IN {
        let path = PathBuf::from(format!("{tag}.toml (compiled in)"));
        let table = parse(&path, text)?;
        sources.entry(tag.to_owned()).or_default().push((path, table));
    }
    let reference = sources[ENGLISH][0].1.clone();
    for path in files(folder)? {
        let refused = |reason: String| LocaleError {
            path: path.clone(),
            reason,
        };
        let tag = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        match tag.parse::<Locale>().map(|locale| locale.to_string()) {
            Ok(written) if written == tag => {}
            Ok(written) => return Err(refused(format!("the file must be named `{written}.toml`"))),
            Err(_) => {
                return Err(refused(format!(
                    "`{tag}` is not a language tag: name the file after its language, as in `de.toml`"
                )));
            }
        }
        let text = std::fs::read_to_string(&path).map_err(|error| refused(error.to_string()))?;
        let table = parse(&path, &text)?;
        check(&table, &reference).map_err(refused)?;
        sources.entry(tag.to_owned()).or_default().push((path, table));
    }
    let mut english = reference;
    for (_, table) in &sources[ENGLISH] {
        lay_over(&mut english, table);
    }
    let mut languages = Vec::new();
    for (tag, layers) in sources {
        let mut words = english.clone();
        // A message that a language lacks is shown in English, but not the name of the language.
        words.insert("language".to_owned(), Value::Table(named(&tag)));
        let mut path = PathBuf::new();
        for (of, table) in layers {
            lay_over(&mut words, &table);
            path = of;
        }
        let language = language(&tag, words).map_err(|reason| LocaleError { path, reason })?;
        let at = if tag == ENGLISH { 0 } else { languages.len() };
        languages.insert(at, language);
    }
    Ok(languages)
}

fn named(tag: &str) -> Table {
    let also = ("also".to_owned(), Value::Array(Vec::new()));
    Table::from_iter([("name".to_owned(), Value::String(tag.to_owned())), also])
}

fn language(tag: &str, words: Table) -> Result<Language, String> {
    let locale: Locale = tag
        .parse()
        .map_err(|_| format!("`{tag}` is not a language tag"))?;
    let words: Words = words
        .try_into()
        .map_err(|error: toml::de::Error| error.message().to_owned())?;
    Ok(Language {
        tag: tag.to_owned(),
        locale,
        words,
    })
}

/// The files of the folder's `locales`, if there is one, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>, LocaleError> {
    let folder = folder.join("locales");
    let refused = |error: std::io::Error| LocaleError {
        path: folder.clone(),
        reason: error.to_string(),
    };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(refused(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(refused)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn parse(path: &Path, text: &str) -> Result<Table, LocaleError> {
    text.parse().map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        LocaleError {
            path: path.to_owned(),
            reason: format!("line {line}: {}", error.message()),
        }
    })
}

/// Checks that every section and key is in the reference, with the same kind of value, and that a text has only its `{…}`.
fn check(table: &Table, reference: &Table) -> Result<(), String> {
    for (section, words) in table {
        let known = reference.get(section).and_then(Value::as_table);
        let (Some(known), Some(words)) = (known, words.as_table()) else {
            let sections: Vec<_> = reference.keys().map(|name| format!("[{name}]")).collect();
            return Err(format!(
                "there is no section `{section}`; the sections are {}",
                sections.join(", ")
            ));
        };
        for (key, value) in words {
            let place = format!("`{key}` in [{section}]");
            let Some(model) = known.get(key) else {
                return Err(format!("{place}: there is no such text"));
            };
            check_text(value, model).map_err(|reason| format!("{place} {reason}"))?;
        }
    }
    Ok(())
}

fn check_text(value: &Value, model: &Value) -> Result<(), String> {
    let is_plural = |model: &Value| model.get("other").is_some();
    match (value, model) {
        (Value::Array(_), Value::Array(_)) => return Ok(()),
        // The signs of currencies.
        (Value::Table(_), Value::Table(_)) if !is_plural(model) => return Ok(()),
        (Value::String(_), Value::String(_)) => {}
        (Value::String(_), model) if is_plural(model) => {}
        // A text of which English has one form may have several elsewhere, where it counts something.
        (Value::Table(forms), _) if is_plural(model) => {
            if let Some(odd) = forms.keys().find(|name| !CATEGORIES.contains(&name.as_str())) {
                return Err(format!(
                    "has a form `{odd}`, which is not one of {}",
                    CATEGORIES.join(", ")
                ));
            }
            if !forms.contains_key("other") || !forms.values().all(Value::is_str) {
                return Err("must have a text for each plural form, and one for `other`".to_owned());
            }
        }
        (_, Value::Array(_)) => return Err("must be a list".to_owned()),
        (_, Value::String(_)) => return Err("must be a text".to_owned()),
        _ => return Err("must be a text, or one for each plural form".to_owned()),
    }
    let known = gaps(model);
    match gaps(value).into_iter().find(|gap| !known.contains(gap)) {
        Some(odd) if known.is_empty() => Err(format!("has `{{{odd}}}`, but nothing is filled in there")),
        Some(odd) => {
            let known: Vec<_> = known.iter().map(|gap| format!("`{{{gap}}}`")).collect();
            Err(format!("has `{{{odd}}}`; available are {}", known.join(", ")))
        }
        None => Ok(()),
    }
}

/// The names of the `{…}` in a text or in any of its forms.
fn gaps(value: &Value) -> BTreeSet<&str> {
    match value {
        Value::String(text) => text
            .split('{')
            .skip(1)
            .filter_map(|part| part.split_once('}').map(|(name, _)| name))
            .collect(),
        Value::Table(forms) => forms.values().flat_map(gaps).collect(),
        _ => BTreeSet::new(),
    }
}

/// Replaces whole keys, so that the plural forms of two languages are never mixed.
fn lay_over(words: &mut Table, over: &Table) {
    for (section, over) in over {
        let known = words.get_mut(section).and_then(Value::as_table_mut);
        if let (Some(known), Some(over)) = (known, over.as_table()) {
            known.extend(over.clone());
        }
    }
}

#[cfg(test)]
mod tests;
