//! Emails, as far as Surepass takes an interest in them: whose a purchase is.

/// An email as it is compared and kept: in lower case, without the space around it. Empty where there was nothing else.
#[must_use]
pub fn folded(email: &str) -> String {
    email.trim().to_lowercase()
}
