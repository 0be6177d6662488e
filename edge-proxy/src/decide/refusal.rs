//! The answers that the edge makes itself: each has a stable code and a status.

/// Why the edge answers itself. Each has a stable code (`X-Railhead-Error`) and a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The head is not a request that RFC 9112 allows, or one that servers read in different ways.
    BadRequest,
    /// The head did not arrive in time.
    HeaderTimeout,
    /// More than 32 KiB or 100 fields.
    HeaderTooLarge,
    /// The body is larger than the service allows.
    BodyTooLarge,
    /// The connection's certificate is not good for this host.
    Misdirected,
    /// No service has this host name.
    UnknownHost,
    /// No service has this path of the host.
    UnknownPath,
    /// It passed too many edges.
    TooManyHops,
    /// No region has an instance that answers.
    NoInstance,
    /// Every instance has as much to do as its service allows, and as many requests wait as may.
    OverCapacity,
    /// An instance (or another region) was there and broke off before it answered.
    InstanceFailed,
    /// An instance took the request and did not answer in time.
    FirstByteTimeout,
    /// The answer did not end in the time that the service allows.
    TotalTimeout,
    /// The service has rules, and this edge can't use them: what they keep out may not come in.
    RulesMissing,
    /// A rule of the service blocks it, with this status.
    Blocked(u16),
    /// A rule of the service allows no more.
    RateLimited,
    /// A rule of the service asks for a password.
    Unauthorized,
    /// A rule of the service answers in its place.
    Maintenance,
    /// This edge failed.
    Internal,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::BadRequest,
        Self::HeaderTimeout,
        Self::HeaderTooLarge,
        Self::BodyTooLarge,
        Self::Misdirected,
        Self::UnknownHost,
        Self::UnknownPath,
        Self::TooManyHops,
        Self::NoInstance,
        Self::OverCapacity,
        Self::InstanceFailed,
        Self::FirstByteTimeout,
        Self::TotalTimeout,
        Self::RulesMissing,
        Self::Blocked(403),
        Self::RateLimited,
        Self::Unauthorized,
        Self::Maintenance,
        Self::Internal,
    ];

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::HeaderTimeout => 408,
            Self::HeaderTooLarge => 431,
            Self::BodyTooLarge => 413,
            Self::Misdirected => 421,
            Self::UnknownHost | Self::UnknownPath => 404,
            Self::TooManyHops => 508,
            Self::NoInstance | Self::OverCapacity | Self::RulesMissing | Self::Maintenance => 503,
            Self::InstanceFailed => 502,
            Self::FirstByteTimeout | Self::TotalTimeout => 504,
            Self::Blocked(status) => status,
            Self::RateLimited => 429,
            Self::Unauthorized => 401,
            Self::Internal => 500,
        }
    }

    /// The code in `X-Railhead-Error`, in problem documents, logs and metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::HeaderTimeout => "header_timeout",
            Self::HeaderTooLarge => "header_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::Misdirected => "misdirected_request",
            Self::UnknownHost => "unknown_host",
            Self::UnknownPath => "unknown_path",
            Self::TooManyHops => "too_many_hops",
            Self::NoInstance => "no_instance",
            Self::OverCapacity => "over_capacity",
            Self::InstanceFailed => "instance_failed",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::TotalTimeout => "total_timeout",
            Self::RulesMissing => "rules_missing",
            Self::Blocked(_) => "blocked",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized => "unauthorized",
            Self::Maintenance => "maintenance",
            Self::Internal => "internal",
        }
    }
}

impl Refusal {
    /// Whether the user got nothing by the platform's doing, and not as somebody asked for.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self.status() >= 500 && !matches!(self, Self::Maintenance)
    }

    /// Seconds after which it is worth to come back, for those that end by themselves.
    #[must_use]
    pub const fn retry_after(self) -> Option<&'static str> {
        match self {
            Self::NoInstance => Some("5"),
            Self::OverCapacity => Some("1"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique() {
        let mut codes: Vec<_> = Refusal::ALL.iter().map(|r| r.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Refusal::ALL.len());
    }
}
