//! The markup of a page, around its parts.

use maud::{DOCTYPE, Markup, html};

use super::address::{self, Bought, PageQuery};
use super::language::Reader;
use super::purchase::Message;
use super::{Page, accent};
use crate::store::Tenant;

/// How long a page without a script waits before it looks again, in seconds.
const REFRESH: u32 = 2;

/// The part below the message of a purchase.
pub(super) enum Below {
    Passes(Markup),
    /// Nobody is signed in: there is no list and no button.
    SignIn(Markup),
}

/// The customer's own page. `surepass.js` takes over the content of `<surepass-passes>`, and replaces `#passes`.
pub(super) fn customers_page(
    page: &Page,
    reader: &Reader,
    tenant: &Tenant,
    query: &PageQuery,
    message: &Message,
    below: &Below,
) -> Markup {
    let words = &reader.words().script;
    let itself = address::page(&tenant.slug, reader, None, None);
    let session = query.bought.as_ref().map(|bought| bought.session.as_str());
    let next = query
        .bought
        .as_ref()
        .filter(|_| message.goes_on)
        .map(|bought| Bought {
            attempt: bought.attempt + 1,
            ..bought.clone()
        });
    let refresh = next.map(|next| address::page(&tenant.slug, reader, Some(&next), None));
    let body = html! {
        surepass-passes tenant=(tenant.slug) lang=(reader.language.tag) session=[session]
            data-state=(message.state) data-page=(itself)
        {
            p.message role="status" aria-live="polite" data-message { (message.text) }
            @if let Below::Passes(_) = below {
                form method="post" action=(itself) data-missing {
                    button title=(words.missing_pass_hint) { (words.missing_pass) }
                }
            }
        }
        @match below {
            Below::Passes(passes) => (passes),
            Below::SignIn(notice) => section { h2 { (reader.words().page.sign_in_title) } (notice) }
        }
    };
    let frame = Frame {
        page,
        reader,
        tenant: Some(tenant),
        slug: Some(&tenant.slug),
        query,
        title: &reader.words().page.title,
        refresh: refresh.as_deref(),
        script: true,
    };
    frame.around(&body)
}

/// The frame of all pages.
pub(super) struct Frame<'a> {
    pub(super) page: &'a Page,
    pub(super) reader: &'a Reader<'a>,
    pub(super) tenant: Option<&'a Tenant>,
    /// The tenant's slug in the page's address; `None`: the page is no tenant's.
    pub(super) slug: Option<&'a str>,
    pub(super) query: &'a PageQuery,
    pub(super) title: &'a str,
    /// The address to reload without a script.
    pub(super) refresh: Option<&'a str>,
    pub(super) script: bool,
}

impl Frame<'_> {
    pub(super) fn around(&self, body: &Markup) -> Markup {
        let accent = self
            .tenant
            .and_then(|tenant| accent::sheet_name(tenant.color.as_deref()));
        let title = match self.tenant {
            Some(tenant) => format!("{} – {}", self.title, tenant.name),
            None => self.title.to_owned(),
        };
        html! {
            (DOCTYPE)
            html lang=(self.reader.language.tag) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="robots" content="noindex";
                    title { (title) }
                    link rel="icon" href="data:,";
                    link rel="stylesheet" href=(self.page.assets.style_address());
                    @if let Some(accent) = accent {
                        link rel="stylesheet" href={ "/assets/" (accent) };
                    }
                    @if let Some(refresh) = self.refresh {
                        noscript { meta http-equiv="refresh" content={ (REFRESH) ";url=" (refresh) }; }
                    }
                    @if self.script {
                        script src=(self.page.assets.script_address()) defer {}
                    }
                }
                body {
                    header {
                        div.inner {
                            @if let Some(tenant) = self.tenant {
                                p.shop { (tenant.name) }
                            }
                        }
                    }
                    main {
                        h1 { (self.title) }
                        (body)
                    }
                    @if let Some(slug) = self.slug {
                        footer { (self.languages(slug)) }
                    }
                }
            }
        }
    }

    /// The same page in the other languages.
    fn languages(&self, slug: &str) -> Markup {
        let here = &self.reader.language.tag;
        html! {
            nav aria-label=(self.reader.words().page.languages) {
                ul.languages {
                    @for language in self.page.languages.all() {
                        @let to = address::in_language(
                            slug, Some(&language.tag), self.query.bought.as_ref(), self.query.synced,
                        );
                        li {
                            @if language.tag == *here {
                                span lang=(language.tag) aria-current="true" { (language.words.language.name) }
                            } @else {
                                a href=(to) lang=(language.tag) hreflang=(language.tag) {
                                    (language.words.language.name)
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
