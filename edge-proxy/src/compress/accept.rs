//! Which coding a client wants (RFC 9110 §12.5.3).

use http::{HeaderMap, header};

/// How a body can be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// Of those that a client likes equally, the first: they make the same text smaller for less work.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// In `Accept-Encoding` and `Content-Encoding`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// The coding that the client likes best; none when it takes none, or likes the body as it is more.
#[must_use]
pub fn accepted(headers: &HeaderMap) -> Option<Coding> {
    let weights = Weights::of(headers);
    let identity = weights.named("identity").unwrap_or(0);
    let mut best = None;
    for coding in Coding::ALL {
        let weight = weights.of_coding(coding.name());
        if weight > 0 && weight >= identity && best.is_none_or(|(most, _)| weight > most) {
            best = Some((weight, coding));
        }
    }
    best.map(|(_, coding)| coding)
}

/// In thousandths, as the client wrote them.
struct Weights<'a>(Vec<(&'a str, u16)>);

impl<'a> Weights<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let fields = headers.get_all(header::ACCEPT_ENCODING).into_iter();
        let elements = fields
            .filter_map(|field| field.to_str().ok())
            .flat_map(|field| field.split(','));
        Self(elements.filter_map(element).collect())
    }

    fn named(&self, name: &str) -> Option<u16> {
        let mut named = self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.next().map(|(_, weight)| *weight)
    }

    fn of_coding(&self, name: &str) -> u16 {
        let weight = self.named(name).or_else(|| self.named("*"));
        weight.unwrap_or(0)
    }
}

/// `gzip;q=0.8`. What has no weight that can be read has none: the body as it is does no harm.
fn element(text: &str) -> Option<(&str, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let weight = match parts.next() {
        None => 1000,
        Some(parameter) => weight(parameter).unwrap_or(0),
    };
    Some((name, weight))
}

fn weight(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    let value: f32 = value.trim().parse().ok()?;
    let is_weight = name.trim().eq_ignore_ascii_case("q") && (0.0..=1.0).contains(&value);
    is_weight.then_some((value * 1000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn accepts(fields: &[&str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for field in fields {
            let value = HeaderValue::from_str(field).unwrap();
            headers.append(header::ACCEPT_ENCODING, value);
        }
        accepted(&headers).map(Coding::name)
    }

    #[test]
    fn the_client_decides_and_where_it_does_not_we_do() {
        for (field, coding) in [
            ("gzip", Some("gzip")),
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip, deflate, br", Some("br")),
            ("zstd;q=0.5, gzip;q=0.8", Some("gzip")),
            ("GZIP ; Q=0.1", Some("gzip")),
            ("*", Some("zstd")),
            ("*;q=0.5, zstd;q=0", Some("br")),
            ("gzip;q=0", None),
            ("gzip;q=0.000", None),
            ("gzip;q=0.5, identity", None),
            ("gzip, identity;q=0", Some("gzip")),
            ("deflate", None),
            ("gzip;q=2", None),
            ("gzip;q=NaN", None),
            ("gzip;level=9", None),
            ("", None),
            (",,;q=1", None),
        ] {
            assert_eq!(accepts(&[field]), coding, "{field}");
        }
        assert_eq!(
            accepts(&["deflate", "br;q=0.2", "gzip;q=0.3"]),
            Some("gzip")
        );
        assert_eq!(
            accepts(&[]),
            None,
            "who says nothing may be able to do nothing"
        );
    }

    proptest! {
        #[test]
        fn whatever_is_sent_a_refused_coding_is_never_used(rubbish in "[ -~]{0,40}") {
            let all = format!("zstd;q=0, br;q=0, gzip;q=0, {rubbish}");
            prop_assert_eq!(accepts(&[&all]), None);
        }
    }
}
