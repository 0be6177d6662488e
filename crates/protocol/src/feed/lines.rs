//! Bytes in, lines out, with a limit: a line without an end never fills the memory.

/// A line longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line has more than {limit} bytes")]
pub struct TooLong {
    /// The limit in bytes.
    pub limit: usize,
}

/// Splits a stream of bytes into lines.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    /// Bytes of `buffer` already handed out.
    taken: usize,
    /// Bytes behind those that have no end of a line in them: a long line in many pieces is read once.
    searched: usize,
    limit: usize,
}

impl Lines {
    /// Lines of at most `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            taken: 0,
            searched: 0,
            limit,
        }
    }

    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line without its end, if there is one.
    ///
    /// # Errors
    /// [`TooLong`], also for a line whose end has not come yet.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let too_long = TooLong { limit: self.limit };
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let fresh = rest.get(self.searched..).unwrap_or_default();
        let Some(length) = fresh.iter().position(|byte| *byte == b'\n') else {
            self.searched = rest.len();
            return if rest.len() > self.limit {
                Err(too_long)
            } else {
                Ok(None)
            };
        };
        let length = self.searched + length;
        if length > self.limit {
            return Err(too_long);
        }
        self.searched = 0;
        self.taken += length + 1;
        Ok(rest.get(..length))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_that_never_ends_is_refused() {
        let mut lines = Lines::new(4);
        lines.push(b"abcd");
        assert_eq!(lines.next_line(), Ok(None));
        lines.push(b"e");
        assert_eq!(lines.next_line(), Err(TooLong { limit: 4 }));
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(lines in prop::collection::vec("[a-z]{0,9}", 0..20), chunk in 1_usize..8) {
            let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            let mut splitter = Lines::new(9);
            let mut seen = Vec::new();
            for bytes in text.as_bytes().chunks(chunk) {
                splitter.push(bytes);
                while let Some(line) = splitter.next_line().unwrap() {
                    seen.push(String::from_utf8(line.to_vec()).unwrap());
                }
            }
            prop_assert_eq!(seen, lines);
        }
    }
}
