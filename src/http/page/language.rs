//! Chooses a reader's language.

use std::path::Path;

use actix_web::HttpRequest;
use actix_web::http::header::{AcceptLanguage, Header, Quality};
use icu_locale_core::Locale;

use super::i18n::{self, Language, LocaleError, Words};

/// How many languages of a header are read.
const MOST_WANTED: usize = 32;

/// All languages of the page, English first.
#[derive(Debug)]
pub(super) struct Languages(Vec<Language>);

/// A reader's language and locale.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) language: &'a Language,
    /// The language with the reader's own region, for the format of dates and numbers.
    pub(super) locale: Locale,
    /// Chosen by `?lang=`: all addresses of the page keep it.
    pub(super) chose: bool,
}

impl Reader<'_> {
    pub(super) fn words(&self) -> &Words {
        &self.language.words
    }
}

impl Languages {
    pub(super) fn load(folder: &Path) -> Result<Self, LocaleError> {
        Ok(Self(i18n::load(folder)?))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Language> {
        self.0.iter()
    }

    /// The language of `?lang=`, or else the first of the browser's that exists, or else English.
    pub(super) fn reader(&self, request: &HttpRequest, chosen: Option<&str>) -> Reader<'_> {
        if let Some(language) = chosen.and_then(|tag| self.0.iter().find(|one| one.tag == tag)) {
            return Reader {
                language,
                locale: language.locale.clone(),
                chose: true,
            };
        }
        let read = wanted(request)
            .iter()
            .find_map(|(language, region)| self.of(language, region.as_deref()));
        read.unwrap_or_else(|| Reader {
            language: &self.0[0],
            locale: self.0[0].locale.clone(),
            chose: false,
        })
    }

    fn of(&self, wanted: &str, region: Option<&str>) -> Option<Reader<'_>> {
        let same = |one: &&Language| one.locale.id.language.as_str() == wanted;
        let tag = region.map(|region| format!("{wanted}-{region}"));
        let exact = self
            .0
            .iter()
            .find(|one| tag.as_ref().is_some_and(|tag| tag.eq_ignore_ascii_case(&one.tag)));
        if let Some(language) = exact.or_else(|| self.0.iter().find(same)) {
            let locale = tag.and_then(|tag| tag.parse().ok());
            return Some(Reader {
                language,
                locale: locale.unwrap_or_else(|| language.locale.clone()),
                chose: false,
            });
        }
        let also = |one: &&Language| one.words.language.also.iter().any(|also| also == wanted);
        let language = self.0.iter().find(also)?;
        Some(Reader {
            language,
            locale: language.locale.clone(),
            chose: false,
        })
    }
}

/// The languages and regions of `Accept-Language`, the preferred first. A malformed header counts as none.
fn wanted(request: &HttpRequest) -> Vec<(String, Option<String>)> {
    let Ok(AcceptLanguage(mut items)) = AcceptLanguage::parse(request) else {
        return Vec::new();
    };
    items.retain(|item| item.quality > Quality::ZERO);
    items.truncate(MOST_WANTED);
    let ranked = AcceptLanguage(items).ranked();
    ranked
        .into_iter()
        .filter_map(|preference| {
            let tag = preference.into_item()?;
            let language = tag.primary_language().to_ascii_lowercase();
            Some((language, tag.region().map(str::to_ascii_uppercase)))
        })
        .collect()
}
