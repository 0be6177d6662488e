//! Cookies of requests (RFC 6265 §4.2.1), as far as routing needs them.

use http::{HeaderMap, header};

/// The values that a request's cookies of this name have. A client may send several of one name, of several paths.
pub fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let fields = headers.get_all(header::COOKIE).into_iter();
    let pairs = fields
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(';'));
    pairs
        .filter_map(|pair| pair.split_once('='))
        .filter(move |(key, _)| key.trim() == name)
        .map(|(_, value)| unquoted(value.trim()))
}

fn unquoted(value: &str) -> &str {
    let inner = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    inner.unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn found(fields: &[&str], name: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::COOKIE, HeaderValue::from_str(field).unwrap());
        }
        values(&headers, name).map(str::to_owned).collect()
    }

    #[test]
    fn all_of_a_name_are_found_however_they_are_sent() {
        let fields = ["a=1; b=2", "c=3;a=\"4\"", "ab=5; =6; a"];
        assert_eq!(found(&fields, "a"), ["1", "4"]);
        assert_eq!(found(&fields, "b"), ["2"]);
        assert_eq!(found(&["a=x=y"], "a"), ["x=y"]);
        assert!(found(&fields, "d").is_empty() && found(&[], "a").is_empty());
    }

    proptest! {
        #[test]
        fn what_was_written_is_found_and_rubbish_does_no_harm(
            name in "[a-z]{1,5}", value in "[a-zA-Z0-9]{0,8}", rubbish in "[ -~]{0,30}",
        ) {
            let field = format!("{rubbish}; {name}={value}");
            prop_assert!(found(&[&field], &name).contains(&value));
        }
    }
}
