//! Follows the frames that a WebSocket's server side sends (RFC 6455 §5.2), so that a connection
//! that must end can be ended with a close frame instead of a cut.

/// What ends a WebSocket whose instance or edge goes away.
pub const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

/// Where the stream towards the client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// In the answer's head; so many bytes of the empty line were seen.
    Head(usize),
    /// In a frame's header, of which these bytes are known.
    Header { bytes: [u8; 10], seen: usize },
    /// In a payload, so many bytes before its end.
    Payload(u64),
    /// A close frame was sent.
    Closed,
}

/// Follows one upgraded connection, from the first byte of the 101 answer.
#[derive(Debug, Clone, Copy)]
pub struct Tracker {
    position: Position,
    closing: bool,
}

const BETWEEN: Position = Position::Header {
    bytes: [0; 10],
    seen: 0,
};
const EMPTY_LINE: &[u8; 4] = b"\r\n\r\n";

impl Default for Tracker {
    fn default() -> Self {
        Self {
            position: Position::Head(0),
            closing: false,
        }
    }
}

impl Tracker {
    /// These bytes went to the client.
    pub fn sent(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if let Position::Payload(left) = self.position {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                bytes = bytes.get(taken..).unwrap_or_default();
                self.payload(left - taken as u64);
            } else {
                self.byte(*first);
                bytes = rest;
            }
        }
    }

    fn byte(&mut self, byte: u8) {
        match self.position {
            Position::Head(seen) => self.position = head(seen, byte),
            Position::Header { mut bytes, seen } => {
                if let Some(slot) = bytes.get_mut(seen) {
                    *slot = byte;
                }
                self.header(bytes, seen + 1);
            }
            Position::Payload(_) | Position::Closed => {}
        }
    }

    fn header(&mut self, bytes: [u8; 10], seen: usize) {
        let [first, second, high, low, ..] = bytes;
        let masked = if second & 0x80 == 0 { 0 } else { 4 };
        let (needed, length) = match second & 0x7f {
            126 => (4, u64::from(u16::from_be_bytes([high, low]))),
            127 => {
                let [_, _, length @ ..] = bytes;
                (10, u64::from_be_bytes(length))
            }
            short => (2, u64::from(short)),
        };
        if seen < 2 || seen < needed {
            self.position = Position::Header { bytes, seen };
        } else {
            self.closing = first & 0x0f == 0x8;
            self.payload(length.saturating_add(masked));
        }
    }

    fn payload(&mut self, left: u64) {
        self.position = match (left, self.closing) {
            (0, true) => Position::Closed,
            (0, false) => BETWEEN,
            (left, _) => Position::Payload(left),
        };
    }

    /// Whether a close frame may be sent now: between two frames, and none was sent yet.
    #[must_use]
    pub fn may_close(&self) -> bool {
        self.position == BETWEEN
    }
}

fn head(seen: usize, byte: u8) -> Position {
    let expected = EMPTY_LINE.get(seen).copied();
    match (expected == Some(byte), seen) {
        (true, 3) => BETWEEN,
        (true, seen) => Position::Head(seen + 1),
        (false, _) => Position::Head(usize::from(byte == b'\r')),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            short @ 0..126 => frame.push(short as u8),
            middle @ 126..65536 => {
                frame.push(126);
                frame.extend((middle as u16).to_be_bytes());
            }
            long => {
                frame.push(127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend(payload);
        frame
    }

    #[test]
    fn a_close_frame_is_possible_between_frames_only() {
        let mut tracker = Tracker::default();
        tracker.sent(b"HTTP/1.1 101 x\r\n");
        assert!(!tracker.may_close());
        tracker.sent(b"\r\n");
        assert!(tracker.may_close());
        tracker.sent(&[0x81, 3, b'a']);
        assert!(!tracker.may_close());
        tracker.sent(b"bc");
        assert!(tracker.may_close());
        tracker.sent(&GOING_AWAY);
        assert!(!tracker.may_close(), "a second close frame");
    }

    proptest! {
        #[test]
        fn any_split_of_whole_frames_ends_between_frames(
            sizes in proptest::collection::vec(prop_oneof![0_usize..200, 65_000..66_000_usize], 0..6),
            step in 1_usize..5000,
        ) {
            let mut bytes = ANSWER.to_vec();
            for size in &sizes {
                bytes.extend(frame(2, &vec![7; *size]));
            }
            let mut tracker = Tracker::default();
            for part in bytes.chunks(step) {
                tracker.sent(part);
            }
            prop_assert!(tracker.may_close());
            tracker.sent(&frame(8, &[3, 232]));
            prop_assert!(!tracker.may_close());
        }

        #[test]
        fn rubbish_does_not_panic(bytes: Vec<u8>) {
            let mut tracker = Tracker::default();
            tracker.sent(ANSWER);
            tracker.sent(&bytes);
        }
    }
}
