use std::fs;

use super::*;

/// The words with this file in the configured folder.
fn with(name: &str, text: &str) -> Result<Vec<Language>, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("locales")).unwrap();
    fs::write(folder.path().join("locales").join(name), text).unwrap();
    load(folder.path()).map_err(|error| error.to_string())
}

fn of<'a>(languages: &'a [Language], tag: &str) -> &'a Language {
    languages.iter().find(|one| one.tag == tag).unwrap()
}

#[test]
fn what_is_compiled_in_says_everything_in_every_language() {
    let reference: Table = COMPILED_IN[0].1.parse().unwrap();
    for (tag, text) in COMPILED_IN {
        let table: Table = text.parse().unwrap();
        check(&table, &reference).unwrap_or_else(|reason| panic!("{tag}: {reason}"));
        for (section, words) in &reference {
            for key in words.as_table().unwrap().keys() {
                assert!(table[section].get(key).is_some(), "{tag} lacks {section}.{key}");
            }
        }
    }
    let languages = load(Path::new("nowhere")).unwrap();
    let tags: Vec<_> = languages.iter().map(|one| one.tag.as_str()).collect();
    assert_eq!(tags, ["en", "nb"]);
}

#[test]
fn a_file_adds_a_language_and_what_it_does_not_say_is_said_in_english() {
    let german = "[language]\nname = \"Deutsch\"\n[script]\nsign_in = \"Anmelden\"\n";
    let languages = with("de.toml", german).unwrap();
    let german = of(&languages, "de");
    assert_eq!(german.words.language.name, "Deutsch");
    assert_eq!(german.words.script.sign_in, "Anmelden");
    assert_eq!(german.words.script.missing_pass, "Missing Pass?");
    assert_eq!(languages[0].tag, "en");
}

#[test]
fn a_file_overrides_words_and_the_rest_of_the_language_stays() {
    let languages = with("nb.toml", "[script]\nmissing_pass = \"Mangler klippekortet?\"\n").unwrap();
    let norwegian = &of(&languages, "nb").words;
    assert_eq!(norwegian.script.missing_pass, "Mangler klippekortet?");
    assert_eq!(norwegian.script.sign_in, "Logg inn");
    assert_eq!(norwegian.language.also, ["no", "nn"]);
    assert_eq!(languages[0].words.script.missing_pass, "Missing Pass?");
}

#[test]
fn a_broken_file_is_refused_with_its_place_and_what_to_do() {
    let refused = |name: &str, text: &str| with(name, text).unwrap_err();
    for (text, reason) in [
        ("[script]\nsign_in = \n", "line 2"),
        (
            "[scripts]\n",
            "there is no section `scripts`; the sections are [language]",
        ),
        (
            "[script]\nsignin = \"x\"\n",
            "`signin` in [script]: there is no such text",
        ),
        ("[script]\nsign_in = 7\n", "`sign_in` in [script] must be a text"),
        (
            "[script]\nsign_in = { other = \"x\" }\n",
            "`sign_in` in [script] must be a text",
        ),
        (
            "[script]\nsign_in = \"x {n}\"\n",
            "`{n}`, but nothing is filled in there",
        ),
        ("[script]\nfound = \"{m}\"\n", "`{m}`; available are `{n}`"),
        ("[script]\nfound = { one = \"x\" }\n", "one for `other`"),
        (
            "[script]\nfound = { other = \"x\", lots = \"y\" }\n",
            "`lots`, which is not one of zero, one",
        ),
        ("[price]\nsymbols = { nok = 7 }\n", "expected a string"),
    ] {
        let error = refused("de.toml", text);
        assert!(error.contains("de.toml") && error.contains(reason), "{error}");
    }
    assert!(refused("not a tag.toml", "").contains("is not a language tag"));
    assert!(refused("PT-br.toml", "").contains("must be named `pt-BR.toml`"));
    assert_eq!(with("pt-BR.toml", "").unwrap().len(), 3);
}

#[test]
fn each_language_has_its_own_plural_forms() {
    let polish = "[script]\nclasses_left = { one = \"{n} wejście\", few = \"{n} wejścia\", many = \"{n} wejść\", other = \"{n} wejścia\" }\n";
    let languages = with("pl.toml", polish).unwrap();
    let said = |tag: &str, count: u64| {
        let language = of(&languages, tag);
        let form = language.form(&language.words.script.classes_left, count);
        fill(form, &[("n", &count.to_string())])
    };
    assert_eq!(
        [0, 1, 3].map(|n| said("en", n)),
        ["0 classes left", "1 class left", "3 classes left"]
    );
    assert_eq!([1, 3].map(|n| said("nb", n)), ["1 klipp igjen", "3 klipp igjen"]);
    assert_eq!(
        [1, 3, 5, 22].map(|n| said("pl", n)),
        ["1 wejście", "3 wejścia", "5 wejść", "22 wejścia"]
    );
}

#[test]
fn what_is_filled_in_is_never_read_as_a_text_itself() {
    let values = [("n", "{of}"), ("of", "5")];
    assert_eq!(fill("{n}/{of} {x} {", &values), "{of}/5 {x} {");
}
