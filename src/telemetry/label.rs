//! The closed sets that labels are of: what is in none of them has no label of its own.

use http::Method;

/// A closed set, with the text of each of its members.
macro_rules! closed_set {
    ($(#[$about:meta])* $name:ident { $($(#[$member:meta])* $variant:ident => $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$member])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The label's text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Its place in [`Self::ALL`].
            pub(super) fn place(self) -> usize {
                Self::ALL.iter().position(|one| *one == self).unwrap_or_default()
            }
        }
    };
}

closed_set! {
    /// The method of a request.
    Verb {
        /// GET.
        Get => "GET",
        /// POST.
        Post => "POST",
        /// HEAD.
        Head => "HEAD",
        /// PUT.
        Put => "PUT",
        /// PATCH.
        Patch => "PATCH",
        /// DELETE.
        Delete => "DELETE",
        /// OPTIONS.
        Options => "OPTIONS",
        /// Any other, or none that could be read.
        Other => "other",
    }
}

closed_set! {
    /// How somebody pays.
    Rail {
        /// x402 `exact`.
        X402 => "x402",
        /// MPP `charge`.
        Charge => "mpp.charge",
        /// MPP `channel`.
        Channel => "mpp.channel",
        /// By something that could not be read.
        Unknown => "unknown",
    }
}

closed_set! {
    /// What became of a payment that came with a request.
    Outcome {
        /// It bought an answer.
        Delivered => "delivered",
        /// The upstream gave no answer that is charged for; nothing was taken.
        Returned => "returned",
        /// The upstream gave no answer that is charged for, and the money had moved: it may be presented again.
        NotServed => "not_served",
        /// It does not pay.
        Rejected => "rejected",
        /// There was no room to look at it.
        TurnedAway => "turned_away",
        /// It could not be judged, by a fault that is not its payer's.
        Failed => "failed",
        /// It was sent, and what became of it is not known yet.
        Pending => "pending",
        /// It had bought its answer before, and its payer was told so.
        Replayed => "replayed",
        /// It had its channel closed.
        Closed => "closed",
    }
}

closed_set! {
    /// Why a payment does not pay.
    Reason {
        /// It cannot be read.
        Malformed => "malformed",
        /// It is for something that was not offered, or was used already.
        NotOffered => "not_offered",
        /// It is for an offer that has expired.
        Expired => "expired",
        /// Its payload is not of a kind that pays.
        InvalidPayload => "invalid_payload",
        /// It does not pay what was asked.
        Invalid => "invalid",
        /// Its channel's key did not sign it.
        BadSignature => "bad_signature",
        /// Its amount buys nothing.
        DeltaTooSmall => "delta_too_small",
        /// It does not cover the request.
        InsufficientBalance => "insufficient_balance",
        /// It commits to more than was deposited.
        OverDeposit => "over_deposit",
        /// Its channel does not pay here.
        ChannelRejected => "channel_rejected",
        /// Its channel takes no commitments any more.
        ChannelEnded => "channel_ended",
        /// It failed to settle.
        SettlementFailed => "settlement_failed",
        /// It came with another one.
        Ambiguous => "ambiguous",
        /// It is under way already.
        InUse => "in_use",
        /// Another payment has its identifier.
        IdentifierTaken => "identifier_taken",
    }
}

impl From<&Method> for Verb {
    fn from(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::POST => Self::Post,
            Method::HEAD => Self::Head,
            Method::PUT => Self::Put,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            Method::OPTIONS => Self::Options,
            _ => Self::Other,
        }
    }
}
