//! A user's requests stay with one instance where the service wants it: a cookie names the instance, by bits of its id that
//! nobody can guess. It leads nowhere but to instances of the service whose host name it was set for.

use http::HeaderMap;

use crate::cookie;

/// The cookie's name.
const NAME: &str = "railhead_instance";

/// The tags ([`crate::upstream::endpoint::Endpoint::tag`]) that a request's cookies name.
pub fn wanted(headers: &HeaderMap) -> impl Iterator<Item = u64> {
    cookie::values(headers, NAME).filter_map(tag)
}

/// One way to write a tag, so that an answer sets the cookie anew that was written in another one.
fn tag(value: &str) -> Option<u64> {
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let is_tag = value.len() == 16 && value.bytes().all(is_digit);
    is_tag
        .then(|| u64::from_str_radix(value, 16).ok())
        .flatten()
}

/// The `Set-Cookie` of an answer by the instance with this tag. The browser keeps it for as long as it runs, and shows it
/// to no script.
#[must_use]
pub fn set_cookie(tag: u64, https: bool) -> String {
    let secure = if https { "; Secure" } else { "" };
    format!("{NAME}={tag:016x}; Path=/; HttpOnly; SameSite=Lax{secure}")
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};
    use proptest::prelude::*;

    use super::*;

    fn found(cookies: &str) -> Vec<u64> {
        let value = HeaderValue::from_str(cookies).unwrap();
        let headers = HeaderMap::from_iter([(header::COOKIE, value)]);
        wanted(&headers).collect()
    }

    #[test]
    fn only_a_tag_as_it_was_set_is_one() {
        let set = set_cookie(0xab, true);
        assert_eq!(
            set,
            "railhead_instance=00000000000000ab; Path=/; HttpOnly; SameSite=Lax; Secure"
        );
        for other in [
            "ab",
            "00000000000000AB",
            "+0000000000000ab",
            "00000000000000ab0",
            "",
        ] {
            assert!(
                found(&format!("railhead_instance={other}")).is_empty(),
                "{other}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_was_set_is_read(tag: u64, https: bool) {
            let set = set_cookie(tag, https);
            let pair = set.split(';').next().unwrap();
            prop_assert_eq!(found(&format!("a=b; {pair}")), [tag]);
        }
    }
}
