//! Normalizes emails and names for comparison and storage.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Normalizes an email: trimmed, NFC, ASCII letters in lower case, the domain in punycode. Empty if nothing
/// remains.
///
/// Other letters keep their case: by Unicode's rules two addresses could become one (the Kelvin sign becomes
/// `k`).
#[must_use]
pub fn normalize(email: &str) -> String {
    let email = email.trim();
    if email.is_ascii() {
        return email.to_ascii_lowercase();
    }
    let (local, domain) = email
        .rsplit_once('@')
        .map_or((email, None), |(local, domain)| (local, Some(domain)));
    let mut normalized = address_nfc(local);
    if let Some(domain) = domain {
        normalized.push('@');
        normalized.push_str(&idna::domain_to_ascii(domain).unwrap_or_else(|_| address_nfc(domain)));
    }
    normalized.make_ascii_lowercase();
    normalized
}

/// Whether there is text on both sides of an `@`. Other texts must not merge two buyers.
#[must_use]
pub fn is_address(email: &str) -> bool {
    email
        .split_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
}

/// All spellings under which older versions stored this email. The first is the normalized one. Lookups of
/// old rows, and of Stripe's, need each.
#[must_use]
pub fn spellings(normalized: &str) -> Vec<String> {
    let mut spellings = vec![normalized.to_owned()];
    let mut add = |spelling: String| {
        if !spellings.contains(&spelling) {
            spellings.push(spelling);
        }
    };
    if let Some((local, domain)) = normalized.rsplit_once('@')
        && domain.contains("xn--")
    {
        let (domain, read) = idna::domain_to_unicode(domain);
        if read.is_ok() {
            add(format!("{local}@{domain}"));
            add(format!("{local}@{domain}").nfd().collect());
        }
    }
    add(normalized.nfd().collect());
    spellings
}

/// The text in NFC, where a letter with an accent has one form.
#[must_use]
pub fn nfc(text: &str) -> Cow<'_, str> {
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => Cow::Borrowed(text),
        IsNormalized::No | IsNormalized::Maybe => Cow::Owned(text.nfc().collect()),
    }
}

/// A pass name for a comparison without regard to case and outer spaces.
#[must_use]
pub fn name_key(name: &str) -> String {
    nfc(name.trim()).to_lowercase()
}

/// NFC, except that no character becomes an ASCII one: NFC turns the Kelvin sign into `K`, and so two
/// addresses into one.
fn address_nfc(text: &str) -> String {
    let becomes_ascii = |c: char| !c.is_ascii() && std::iter::once(c).nfc().all(|c| c.is_ascii());
    text.split_inclusive(becomes_ascii)
        .flat_map(|part| {
            let kept = part.chars().next_back().filter(|last| becomes_ascii(*last));
            let before = part.strip_suffix(becomes_ascii).unwrap_or(part);
            before.nfc().chain(kept)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails_are_compared_trimmed_in_nfc_with_ascii_letters_in_lower_case_and_punycode_domains() {
        for (one, other) in [
            (" Kari@Example.COM\n", "kari@example.com"),
            ("jos\u{e9}@example.com", "jose\u{301}@example.com"),
            ("JOS\u{e9}@example.com", "jose\u{301}@EXAMPLE.com"),
            ("kari@B\u{fc}cher.example", "kari@xn--bcher-kva.example"),
            ("kari@bu\u{308}cher.example", "kari@XN--BCHER-KVA.example"),
            ("jos\u{e9}@\u{ff42}.example", "jos\u{e9}@b.example"),
            ("  ", ""),
        ] {
            assert_eq!(normalize(one), normalize(other), "{one} {other}");
        }
        assert_eq!(
            normalize("Kari@B\u{fc}cher.example"),
            "kari@xn--bcher-kva.example"
        );
    }

    #[test]
    fn no_two_addresses_become_one() {
        for (one, other) in [
            ("quac\u{212a}@example.org", "quack@example.org"),
            ("quac\u{212a}@example.org", "quacK@example.org"),
            ("quac\u{212a}\u{301}@example.org", "quack\u{301}@example.org"),
            ("a\u{1fef}@example.org", "a`@example.org"),
            ("\u{c5}se@example.org", "\u{e5}se@example.org"),
            ("\u{130}@example.org", "i@example.org"),
            ("stra\u{df}e@example.org", "strasse@example.org"),
            ("\u{ff4b}ari@example.org", "kari@example.org"),
            ("a@b@\u{fc}.example", "a@\u{fc}.example"),
        ] {
            assert_ne!(normalize(one), normalize(other), "{one} {other}");
            assert_eq!(normalize(&normalize(one)), normalize(one), "{one}");
        }
    }

    #[test]
    fn old_spellings_of_an_email_are_its_own() {
        assert_eq!(spellings("kari@example.com"), ["kari@example.com"]);
        let spelled = spellings("jos\u{e9}@xn--bcher-kva.example");
        assert!(spelled.contains(&"jos\u{e9}@b\u{fc}cher.example".to_owned()));
        assert!(
            spelled.iter().all(|one| normalize(one) == spelled[0]),
            "{spelled:?}"
        );
    }
}
