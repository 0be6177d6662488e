//! Times as people say them. Programs get RFC 3339 in JSON.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// "12 s", "5 min", "3 h", "2 d": how long ago `then` was at `now`.
pub fn age(then: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let elapsed = (now - then).to_std().unwrap_or_default();
    span(elapsed)
}

/// "12 s ago"; "in 3 d" for what is to come.
pub fn since(then: DateTime<Utc>, now: DateTime<Utc>) -> String {
    if then > now {
        format!("in {}", age(now, then))
    } else {
        format!("{} ago", age(then, now))
    }
}

/// A length of time in its largest unit that says enough.
pub fn span(length: Duration) -> String {
    match length.as_secs() {
        0..=9 => format!("{:.1} s", length.as_secs_f64()),
        seconds @ 10..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_shown_in_the_unit_that_fits() {
        for (seconds, text) in [
            (0.0, "0.0 s"),
            (1.26, "1.3 s"),
            (59.0, "59 s"),
            (119.0, "119 s"),
            (120.0, "2 min"),
            (7_200.0, "2 h"),
            (172_800.0, "2 d"),
        ] {
            assert_eq!(span(Duration::from_secs_f64(seconds)), text);
        }
    }

    #[test]
    fn a_clock_that_is_behind_gives_no_negative_age() {
        let now = Utc::now();
        assert_eq!(age(now + chrono::Duration::seconds(5), now), "0.0 s");
        assert_eq!(since(now + chrono::Duration::days(3), now), "in 3 d");
    }
}
