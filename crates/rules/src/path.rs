//! Paths as conditions see them: what most applications make of the bytes that a client sent. A rule for `/admin` shall
//! hold for `/%61dmin`, `//admin` and `/x/../admin` as well.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The path without escapes, empty segments and dots. Escapes are undone once, as applications do.
pub(crate) fn normalized(raw: &str) -> Cow<'_, str> {
    if !raw.contains('%') && !raw.contains("//") && !raw.contains("/.") {
        return Cow::Borrowed(raw);
    }
    let decoded = percent_decode_str(raw).decode_utf8_lossy();
    Cow::Owned(without_dots(&decoded))
}

/// RFC 3986 §5.2.4, and empty segments count for nothing.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_folder = true;
    for segment in path.split('/') {
        ends_in_folder = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            name => kept.push(name),
        }
    }
    let mut result = String::with_capacity(path.len() + 1);
    for segment in &kept {
        result.push('/');
        result.push_str(segment);
    }
    if ends_in_folder {
        result.push('/');
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ways_to_write_one_path() {
        for raw in [
            "/admin",
            "/%61dmin",
            "/%61%64%6d%69%6E",
            "//admin",
            "/./admin",
            "/x/../admin",
            "/x/%2e%2e/admin",
            "/..%2fadmin",
            "/%2fadmin",
        ] {
            assert_eq!(normalized(raw), "/admin", "{raw}");
        }
        for (raw, path) in [
            ("/", "/"),
            ("/a/", "/a/"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a%20b", "/a b"),
            ("/%252e%252e/a", "/%2e%2e/a"),
            ("/a..b/.well-known", "/a..b/.well-known"),
            ("/%ff", "/\u{fffd}"),
            ("/%zz", "/%zz"),
        ] {
            assert_eq!(normalized(raw), path, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn what_comes_out_stays_within_the_root(raw in "/[a-c./%2eEfF]{0,24}") {
            let path = normalized(&raw);
            prop_assert!(path.starts_with('/'), "{}", path);
            let climbs = path.split('/').any(|segment| segment == ".." || segment == ".");
            prop_assert!(!climbs && !path.contains("//"), "{}", path);
        }
    }
}
