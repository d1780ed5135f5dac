//! Which addresses are ours.

use url::Url;

use crate::store::KnownTenant;

/// Where the intake is, below the public address.
const INTAKE: &str = "/webhooks/stripe";

/// What an address at Stripe is to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The intake: of all, or of one tenant (its slug).
    Ours(Option<String>),
    /// It would be ours but for its scheme, a `www.` or a slash at the end: the server answers with a redirect or not at
    /// all.
    Nearly,
    Other,
}

/// Tells it by the public address; without one by the path alone.
pub(super) fn place(url: &str, public: Option<&Url>, tenants: &[KnownTenant]) -> Place {
    let Ok(url) = Url::parse(url) else {
        return Place::Other;
    };
    let path = url.path();
    let below = match public {
        Some(public) => match path.strip_prefix(public.path().trim_end_matches('/')) {
            Some(below) if host(&url) == host(public) => below,
            _ => return Place::Other,
        },
        None => match path.find(INTAKE) {
            Some(start) => &path[start..],
            None => return Place::Other,
        },
    };
    let Some(rest) = below.strip_prefix(INTAKE) else {
        return Place::Other;
    };
    let exact = public.is_none_or(|public| {
        url.scheme() == public.scheme()
            && url.host() == public.host()
            && url.port_or_known_default() == public.port_or_known_default()
    });
    let is_tenant = |slug: &str| tenants.iter().any(|tenant| tenant.slug == slug);
    match rest.strip_prefix('/') {
        None if rest.is_empty() && exact => Place::Ours(None),
        Some(slug) if exact && is_tenant(slug) => Place::Ours(Some(slug.to_owned())),
        None if rest.is_empty() => Place::Nearly,
        Some(slug) => {
            let slug = slug.trim_end_matches('/');
            if slug.is_empty() || is_tenant(slug) {
                Place::Nearly
            } else {
                Place::Other
            }
        }
        None => Place::Other,
    }
}

/// The slug of the tenant whose own intake it is.
pub(super) fn tenant_of(url: &str, public: Option<&Url>, tenants: &[KnownTenant]) -> Option<String> {
    match place(url, public, tenants) {
        Place::Ours(slug) => slug,
        Place::Nearly | Place::Other => None,
    }
}

/// What an endpoint's address should be.
pub(super) fn wanted(public: Option<&Url>) -> String {
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
        let of = |url: &str| place(url, Some(&public), &tenants);
        assert_eq!(
            of("https://passes.example.com/webhooks/stripe"),
            Place::Ours(None)
        );
        assert_eq!(
            of("https://passes.example.com:443/webhooks/stripe/studio"),
            Place::Ours(Some("studio".to_owned()))
        );
        for near in [
            "http://passes.example.com/webhooks/stripe",
            "https://www.passes.example.com/webhooks/stripe",
            "https://passes.example.com/webhooks/stripe/",
            "https://passes.example.com/webhooks/stripe/studio/",
            "https://passes.example.com:8443/webhooks/stripe",
        ] {
            assert_eq!(of(near), Place::Nearly, "{near}");
        }
        for other in [
            "https://other.example.com/webhooks/stripe",
            "https://passes.example.com/webhooks/stripes",
            "https://passes.example.com/webhooks/stripe/nobody",
            "https://passes.example.com/",
            "not a url",
        ] {
            assert_eq!(of(other), Place::Other, "{other}");
        }
    }

    #[test]
    fn without_a_public_address_the_path_tells() {
        let of = |url: &str| place(url, None, &[tenant("studio")]);
        assert_eq!(of("http://10.0.0.1:8080/pay/webhooks/stripe"), Place::Ours(None));
        assert_eq!(of("https://a.example/webhooks/stripe/"), Place::Nearly);
        assert_eq!(of("https://a.example/webhooks/other"), Place::Other);
    }

    #[test]
    fn a_public_address_below_a_path_keeps_it() {
        let public = Url::parse("https://example.com/passes/").unwrap();
        assert_eq!(
            wanted(Some(&public)),
            "https://example.com/passes/webhooks/stripe"
        );
        let of = |url: &str| place(url, Some(&public), &[]);
        assert_eq!(
            of("https://example.com/passes/webhooks/stripe"),
            Place::Ours(None)
        );
        assert_eq!(of("https://example.com/webhooks/stripe"), Place::Other);
    }
}
