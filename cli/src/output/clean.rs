//! Text of tenants' programs (log lines, commit titles) may hold terminal control sequences that
//! retitle windows, move the cursor or fake output, and marks that turn the direction of writing, so
//! that a name reads as another one. Only colours are let through.

/// `text` without control characters, marks of direction and escape sequences; colours stay when
/// `keep_colours`.
pub fn clean(text: &str, keep_colours: bool) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find(is_hostile) {
        let (plain, control) = rest.split_at(position);
        cleaned.push_str(plain);
        let (sequence, after) = control.split_at(control_length(control));
        if sequence == "\t" || (keep_colours && is_colour(sequence)) {
            cleaned.push_str(sequence);
        }
        rest = after;
    }
    cleaned.push_str(rest);
    if keep_colours && cleaned.contains('\x1b') {
        cleaned.push_str("\x1b[0m");
    }
    cleaned
}

/// Controls, and the embeddings, overrides and isolates of direction (Unicode Annex 9 §2).
fn is_hostile(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How many bytes the control character or escape sequence at the beginning takes (ECMA-48 §5).
fn control_length(text: &str) -> usize {
    let first = text.chars().next().map_or(0, char::len_utf8);
    match text.as_bytes() {
        [0x1b, b'[', ..] => text
            .bytes()
            .skip(2)
            .position(|byte| (0x40..=0x7e).contains(&byte))
            .map_or(text.len(), |end| floor(text, end + 3)),
        [0x1b, b']' | b'P' | b'X' | b'^' | b'_', ..] => string_length(text),
        [0x1b, ..] => text.chars().take(2).map(char::len_utf8).sum(),
        _ => first,
    }
}

/// An operating-system command or the like: up to BEL or ESC \.
fn string_length(text: &str) -> usize {
    let bell = text.find('\x07').map(|at| at + 1);
    let terminator = text.find("\x1b\\").map(|at| at + 2);
    [bell, terminator]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(text.len())
}

fn is_colour(sequence: &str) -> bool {
    sequence
        .strip_prefix("\x1b[")
        .and_then(|rest| rest.strip_suffix('m'))
        .is_some_and(|codes| {
            codes
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b';')
        })
}

fn floor(text: &str, mut index: usize) -> usize {
    while !text.is_char_boundary(index) {
        index += 1;
    }
    index.min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_only_where_they_are_shown() {
        let line = "\x1b[31mred\x1b[0m plain";
        assert_eq!(clean(line, false), "red plain");
        assert_eq!(clean(line, true), "\x1b[31mred\x1b[0m plain\x1b[0m");
    }

    #[test]
    fn what_could_fool_a_terminal_is_gone() {
        for (hostile, harmless) in [
            ("a\x1b]0;title\x07b", "ab"),
            ("a\x1b]52;c;ZWNobw==\x1b\\b", "ab"),
            ("a\x1b[2J\x1b[Hb", "ab"),
            ("done\rfake", "donefake"),
            ("a\x1bcb", "ab"),
            ("a\u{9b}31mb", "a31mb"),
            ("cut\x1b[", "cut"),
            ("cut\x1b]0;x", "cut"),
            ("tab\tstays ✓", "tab\tstays ✓"),
            ("admin\u{202e}txt.exe\u{2069}", "admintxt.exe"),
        ] {
            assert_eq!(clean(hostile, true), harmless, "{hostile:?}");
        }
    }

    #[test]
    fn no_text_makes_it_stumble() {
        for text in [
            "\x1b",
            "\x1b[",
            "\x1b[ä",
            "\x1bä",
            "\x1b[1;ä",
            "ä\x1b]ä",
            "\u{80}",
        ] {
            clean(text, true);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_moves_the_cursor(parts in proptest::collection::vec("[\\x00-\\x20\\[\\];:m0-9a-zäA-H\\\\\u{9b}]{0,6}|\x1b\\[[0-9;]*m|\x1b", 0..12)) {
            let text = parts.concat();
            let harmless = clean(&text, false);
            proptest::prop_assert!(!harmless.chars().any(|c| c.is_control() && c != '\t'), "{harmless:?}");
            let coloured = clean(&text, true);
            proptest::prop_assert_eq!(clean(&coloured, false), harmless);
        }
    }
}
