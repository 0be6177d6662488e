//! Amounts with their unit in the type: CPU, bytes, durations. Each is written as people write
//! it (`0.5`, `"512Mi"`, `"30s"`) and kept as a whole number, so that sums are exact.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text or number that is no amount of the wanted unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {expected}")]
pub struct InvalidQuantity {
    text: String,
    expected: &'static str,
}

impl InvalidQuantity {
    fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: text.chars().take(64).collect(),
            expected,
        }
    }
}

/// Thousandths of a CPU core. Written as cores: `0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MilliCpu(pub u32);

impl MilliCpu {
    const EXPECTED: &'static str = "a number of CPU cores between 0 and 1024, such as 0.5";

    /// From cores; refuses what is not between 0 and 1024. (What is in use may be nothing.)
    ///
    /// # Errors
    /// [`InvalidQuantity`] when out of range or not a number.
    pub fn from_cores(cores: f64) -> Result<Self, InvalidQuantity> {
        if (0.0..=1024.0).contains(&cores) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Ok(Self((cores * 1000.0).round() as u32))
        } else {
            Err(InvalidQuantity::new(&cores.to_string(), Self::EXPECTED))
        }
    }

    /// In cores.
    #[must_use]
    pub fn cores(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl fmt::Display for MilliCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cores())
    }
}

impl Serialize for MilliCpu {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.cores())
    }
}

impl<'de> Deserialize<'de> for MilliCpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_cores(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A number of bytes. Written with a binary or decimal unit: `"512Mi"`, `"5Gi"`, `"100M"`, or bare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

const BYTE_UNITS: &[(&str, u64)] = &[
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("K", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
];

impl Bytes {
    /// `n` MiB.
    #[must_use]
    pub const fn mebibytes(n: u64) -> Self {
        Self(n << 20)
    }
}

impl FromStr for Bytes {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let invalid = || InvalidQuantity::new(text, "a number of bytes, such as 512Mi or 5Gi");
        let (digits, factor) = BYTE_UNITS
            .iter()
            .find_map(|(unit, factor)| text.strip_suffix(unit).map(|digits| (digits, *factor)))
            .unwrap_or((text, 1));
        let number: u64 = digits.parse().map_err(|_| invalid())?;
        number.checked_mul(factor).map(Self).ok_or_else(invalid)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = BYTE_UNITS[..4]
            .iter()
            .rev()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match exact {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(bytes) => Ok(Self(bytes)),
            NumberOrText::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// A length of time in whole milliseconds. Written as seconds (`30`) or with a unit (`"30s"`, `"5m"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(u64);

const TIME_UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("y", 31_536_000_000),
];

impl Span {
    /// From whole seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds * 1_000)
    }

    /// From whole milliseconds.
    #[must_use]
    pub const fn milliseconds(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// Both, one after the other.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// As the standard library's type.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// In milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

impl FromStr for Span {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let invalid = || InvalidQuantity::new(text, "a length of time, such as 30s or 5m");
        let (digits, factor) = TIME_UNITS
            .iter()
            .find_map(|(unit, factor)| {
                let digits = text.strip_suffix(unit)?;
                digits
                    .bytes()
                    .all(|b| b.is_ascii_digit())
                    .then_some((digits, *factor))
            })
            .unwrap_or((text, 1_000));
        let number: u64 = digits.parse().map_err(|_| invalid())?;
        number.checked_mul(factor).map(Self).ok_or_else(invalid)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = TIME_UNITS
            .iter()
            .rev()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match exact {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "0s"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(seconds) => seconds
                .checked_mul(1_000)
                .map(Self)
                .ok_or_else(|| serde::de::Error::custom("too long")),
            NumberOrText::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a whole number or a text with a unit")]
enum NumberOrText {
    Number(u64),
    Text(String),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!("512Mi".parse::<Bytes>().unwrap(), Bytes::mebibytes(512));
        assert_eq!("100M".parse::<Bytes>().unwrap().0, 100_000_000);
        assert_eq!("30s".parse::<Span>().unwrap(), Span::seconds(30));
        assert_eq!("250ms".parse::<Span>().unwrap().as_millis(), 250);
        assert_eq!(
            serde_json::from_str::<Span>("30").unwrap(),
            Span::seconds(30)
        );
        assert_eq!(serde_json::from_str::<MilliCpu>("0.5").unwrap().0, 500);
    }

    #[test]
    fn refuses_what_is_no_amount() {
        for text in ["", "-1", "1.5Gi", "Mi", "1 Gi", "99999999999999Ti"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        for text in ["", "s", "-1s", "1w", "999999999999999999y"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["-1", "NaN", "5000"] {
            assert!(serde_json::from_str::<MilliCpu>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn shown_amounts_read_back(bytes: u64, millis in 0_u64..1 << 50) {
            prop_assert_eq!(Bytes(bytes).to_string().parse::<Bytes>().unwrap(), Bytes(bytes));
            let span = Span(millis);
            prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
    }
}
