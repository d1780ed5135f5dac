//! How errors show an address from the settings (a URL that may hold a password), and what is wrong with one.

/// The address with user, password and parameters masked, fit for an error or a log. Of a text that is no address at all, and
/// may be a password in the wrong place, only the beginning is shown.
#[must_use]
pub fn masked(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return beginning(address);
    };
    let scheme = beginning_of_scheme(scheme);
    let (user, rest) = match rest.rsplit_once('@') {
        // A parameter with an `@`, or a password with a `?`: what is what cannot be known.
        Some((user, _)) if user.contains('?') => return format!("{scheme}://***"),
        Some((_, rest)) => ("***@", rest),
        None => ("", rest),
    };
    let (rest, parameters) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    format!("{scheme}://{user}{rest}{parameters}")
}

/// A character in the user name or password that ends them for every reader of URLs, and how to write it.
#[must_use]
pub fn raw_character(address: &str) -> Option<(char, &'static str)> {
    let (scheme, rest) = address.split_once("://")?;
    // Paths may hold anything.
    if scheme.ends_with("unix") || scheme == "sqlite" {
        return None;
    }
    let (user, _) = rest.rsplit_once('@')?;
    let at = user.find(['/', '?', '#'])?;
    let (_, from) = user.split_at(at);
    // An `@` in a parameter is in order.
    if !from.starts_with('#') && from.split_once('?').is_some_and(|(_, rest)| rest.contains('=')) {
        return None;
    }
    match from.chars().next()? {
        '/' => Some(('/', "%2F")),
        '?' => Some(('?', "%3F")),
        _ => Some(('#', "%23")),
    }
}

/// What is wrong with such an address and how to correct it, in words that follow it.
#[must_use]
pub fn misspelled(address: &str, expected: &str) -> Option<String> {
    if let Some((character, escaped)) = raw_character(address) {
        return Some(format!(
            "has `{character}` in its user name or password, where it ends the address: write {escaped} in its place (`#` is %23, \
             `/` is %2F, `?` is %3F, `@` is %40)"
        ));
    }
    if !address.contains("://") {
        return Some(format!("has no scheme: write it as {expected}"));
    }
    None
}

fn beginning(text: &str) -> String {
    let host_and_port = text.rsplit_once(':').is_some_and(|(host, port)| {
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        port.parse::<u16>().is_ok() && host.bytes().all(in_name)
    });
    let is_path = text.starts_with(['/', '.']) || text.strip_suffix(".db").is_some();
    if host_and_port || is_path || text.chars().count() < 6 {
        return text.to_owned();
    }
    let shown: String = text.chars().take(3).collect();
    format!("{shown}…")
}

fn beginning_of_scheme(scheme: &str) -> String {
    let known = ["redis", "postgres", "sqlite", "sanity", "mysql", "http", "amqp"];
    let is_scheme = scheme
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    if is_scheme && (known.iter().any(|known| scheme.starts_with(known)) || scheme.len() < 6) {
        return scheme.to_owned();
    }
    beginning(scheme)
}

/// What is wrong with a text that [`is_quoted`], in words that follow its name.
pub const QUOTED: &str = "is in quotes: docker env files keep them; write the value without quotes";

/// Whether a text begins or ends with a quotation mark. Docker's env files and some CI systems keep those that a shell removes.
#[must_use]
pub fn is_quoted(text: &str) -> bool {
    let mark = ['"', '\'', '`', '“', '”', '‘', '’'];
    text.starts_with(mark) || text.ends_with(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (address, shown) in [
            ("redis://:p@ss#w/rd@127.0.0.1:6379", "redis://***@127.0.0.1:6379"),
            (
                "postgres://u:secret@db/surepass?sslmode=require",
                "postgres://***@db/surepass?***",
            ),
            (
                "redis+sentinel://a/shop?sentinel_password=p@ss",
                "redis+sentinel://***",
            ),
            ("mysql://x", "mysql://x"),
            ("foo", "foo"),
            ("127.0.0.1:6379", "127.0.0.1:6379"),
            ("data/surepass.db", "data/surepass.db"),
            ("correct-horse-battery", "cor…"),
            ("secret-words://host", "sec…://host"),
        ] {
            assert_eq!(masked(address), shown);
        }
    }

    #[test]
    fn a_character_that_must_be_percent_encoded_is_found_in_user_and_password_only() {
        for (address, found) in [
            ("redis://:p@ss#w/rd@127.0.0.1:6379", Some("%23")),
            ("postgres://u:a/b@db/surepass", Some("%2F")),
            ("postgres://u:a?b@db/surepass", Some("%3F")),
            ("rediss://u:p@a:7000/2?protocol=resp3#insecure", None),
            ("redis+sentinel://a/shop?sentinel_password=p@ss", None),
            ("redis+unix:///a@b/c#d.sock", None),
            ("sqlite:///a#b@c.db", None),
            ("redis://:p%23w@a", None),
        ] {
            assert_eq!(
                raw_character(address).map(|(_, escaped)| escaped),
                found,
                "{address}"
            );
        }
    }
}
