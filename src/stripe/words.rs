//! The enumerations of a Checkout Session.

/// Defines words as an enum; one that Stripe has added since is `Other`.
macro_rules! words {
    ($(#[$note:meta])* $name:ident { $($(#[$what:meta])* $word:ident = $text:literal),* $(,)? }) => {
        $(#[$note])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$what])* $word,)*
            /// A word that Stripe has added since.
            Other,
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$word,)*
                    _ => Self::Other,
                }
            }
        }
    };
}

words! {
    /// How far a session is.
    SessionStatus { Open = "open", Complete = "complete", Expired = "expired" }
}

words! {
    /// Whether the money is there.
    PaymentStatus { Paid = "paid", Unpaid = "unpaid", NoPaymentRequired = "no_payment_required" }
}

words! {
    /// What a session is for.
    SessionMode {
        /// Something is paid once.
        Payment = "payment",
        /// A Stripe subscription begins.
        Subscription = "subscription",
        /// Nothing is paid: a card is kept.
        Setup = "setup",
    }
}
