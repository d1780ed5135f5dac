//! Recognises the addresses of our webhook intake.

use url::Url;

use crate::store::KnownTenant;

/// The path of the intake below the public address.
const INTAKE: &str = "/webhooks/stripe";

/// How an address registered at Stripe relates to our intake.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UrlMatch {
    /// Our intake: of all tenants, or of the tenant with this slug.
    Ours(Option<String>),
    /// Ours except for its scheme, a `www.` or a trailing slash: the server redirects or does not answer.
    Almost,
    Other,
}

/// Compares an address with the public one, or by its path alone if there is none.
pub(super) fn match_url(url: &str, public: Option<&Url>, tenants: &[KnownTenant]) -> UrlMatch {
    let Ok(url) = Url::parse(url) else {
        return UrlMatch::Other;
    };
    let path = url.path();
    let below = match public {
        Some(public) => match path.strip_prefix(public.path().trim_end_matches('/')) {
            Some(below) if host(&url) == host(public) => below,
            _ => return UrlMatch::Other,
        },
        None => match path.find(INTAKE) {
            Some(start) => &path[start..],
            None => return UrlMatch::Other,
        },
    };
    let Some(rest) = below.strip_prefix(INTAKE) else {
        return UrlMatch::Other;
    };
    let exact = public.is_none_or(|public| {
        url.scheme() == public.scheme()
            && url.host() == public.host()
            && url.port_or_known_default() == public.port_or_known_default()
    });
    let is_tenant = |slug: &str| tenants.iter().any(|tenant| tenant.slug == slug);
    match rest.strip_prefix('/') {
        None if rest.is_empty() && exact => UrlMatch::Ours(None),
        Some(slug) if exact && is_tenant(slug) => UrlMatch::Ours(Some(slug.to_owned())),
        None if rest.is_empty() => UrlMatch::Almost,
        Some(slug) => {
            let slug = slug.trim_end_matches('/');
            if slug.is_empty() || is_tenant(slug) {
                UrlMatch::Almost
            } else {
                UrlMatch::Other
            }
        }
        None => UrlMatch::Other,
    }
}

/// The address to register at Stripe.
pub(super) fn expected_url(public: Option<&Url>) -> String {
    match public {
        Some(public) => format!("{}{INTAKE}", public.as_str().trim_end_matches('/')),
        None => format!("https://YOUR-SERVER{INTAKE}"),
    }
}

fn host(url: &Url) -> &str {
    let host = url.host_str().unwrap_or_default();
    host.strip_prefix("www.").unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(slug: &str) -> KnownTenant {
        KnownTenant {
            id: slug.to_owned(),
            slug: slug.to_owned(),
            stripe_account: None,
        }
    }

    #[test]
    fn an_address_is_ours_by_the_public_one_and_nearly_ours_where_a_redirect_would_follow() {
        let public = Url::parse("https://passes.example.com").unwrap();
        let tenants = [tenant("studio")];
        let of = |url: &str| match_url(url, Some(&public), &tenants);
        assert_eq!(
            of("https://passes.example.com/webhooks/stripe"),
            UrlMatch::Ours(None)
        );
        assert_eq!(
            of("https://passes.example.com:443/webhooks/stripe/studio"),
            UrlMatch::Ours(Some("studio".to_owned()))
        );
        for near in [
            "http://passes.example.com/webhooks/stripe",
            "https://www.passes.example.com/webhooks/stripe",
            "https://passes.example.com/webhooks/stripe/",
            "https://passes.example.com/webhooks/stripe/studio/",
            "https://passes.example.com:8443/webhooks/stripe",
        ] {
            assert_eq!(of(near), UrlMatch::Almost, "{near}");
        }
        for other in [
            "https://other.example.com/webhooks/stripe",
            "https://passes.example.com/webhooks/stripes",
            "https://passes.example.com/webhooks/stripe/nobody",
            "https://passes.example.com/",
            "not a url",
        ] {
            assert_eq!(of(other), UrlMatch::Other, "{other}");
        }
    }

    #[test]
    fn without_a_public_address_the_path_tells() {
        let of = |url: &str| match_url(url, None, &[tenant("studio")]);
        assert_eq!(
            of("http://10.0.0.1:8080/pay/webhooks/stripe"),
            UrlMatch::Ours(None)
        );
        assert_eq!(of("https://a.example/webhooks/stripe/"), UrlMatch::Almost);
        assert_eq!(of("https://a.example/webhooks/other"), UrlMatch::Other);
    }

    #[test]
    fn a_public_address_below_a_path_keeps_it() {
        let public = Url::parse("https://example.com/passes/").unwrap();
        assert_eq!(
            expected_url(Some(&public)),
            "https://example.com/passes/webhooks/stripe"
        );
        let of = |url: &str| match_url(url, Some(&public), &[]);
        assert_eq!(
            of("https://example.com/passes/webhooks/stripe"),
            UrlMatch::Ours(None)
        );
        assert_eq!(of("https://example.com/webhooks/stripe"), UrlMatch::Other);
    }
}
