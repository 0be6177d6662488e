mod elsewhere;

use std::collections::BTreeMap;

use proptest::prelude::*;

use domain::generation::{Epoch, Generation};

use crate::feed::{signature::Signer, writer};

use super::*;

/// What the control plane does, in memory: keeps the document and writes change sets.
struct Publisher {
    signer: Signer,
    document: Document,
    position: Position,
}

type Change = (String, Option<String>);

impl Publisher {
    fn new() -> Self {
        let signer = Signer::from_pkcs8(&Signer::generate_pkcs8().unwrap()).unwrap();
        let position = Position {
            epoch: Epoch(1),
            generation: Generation(0),
        };
        Self {
            signer,
            document: Document::default(),
            position,
        }
    }

    fn reader(&self) -> Reader {
        self.reader_with(Limits::default())
    }

    fn reader_with(&self, limits: Limits) -> Reader {
        let keys = FeedKeys::from_base64(&[self.signer.public_key()]).unwrap();
        Reader::new(FeedName::GlobalRoutes(Ring::All), keys, limits)
    }

    /// Changes the document and answers the difference.
    fn publish(&mut self, changes: &[Change]) -> Vec<String> {
        self.position.generation.0 += 1;
        let mut last: BTreeMap<&str, Option<Rendered>> = BTreeMap::new();
        for (id, value) in changes {
            last.insert(id, value.as_ref().map(|value| Rendered::of(value).unwrap()));
        }
        let mut frames = vec![writer::begin(self.position, false).unwrap()];
        for (id, item) in last {
            match item {
                Some(item) => {
                    frames.push(writer::put(id, &item).unwrap());
                    self.document.put(id, item);
                }
                None => {
                    frames.push(writer::delete(id, Some(DropCause::Deletion)).unwrap());
                    self.document.delete(id);
                }
            }
        }
        frames.push(self.commit());
        frames
    }

    fn full(&self) -> Vec<String> {
        let mut frames = vec![writer::begin(self.position, true).unwrap()];
        frames.extend(
            self.document
                .iter()
                .map(|(id, item)| writer::put(id, item).unwrap()),
        );
        frames.push(self.commit());
        frames
    }

    fn commit(&self) -> String {
        let count = self.document.len() as u64;
        let digest = self.document.digest();
        writer::commit(self.signer.commit(
            FeedName::GlobalRoutes(Ring::All),
            self.position,
            digest,
            count,
        ))
        .unwrap()
    }
}

fn change(id: &str, value: &str) -> Change {
    (id.into(), Some(value.into()))
}

/// Reads all lines; the last outcome or the first error.
fn read(reader: &mut Reader, lines: &[String]) -> Result<Outcome, Error> {
    let mut outcome = Outcome::Pending;
    for line in lines {
        outcome = reader.read_line(line.trim_end().as_bytes())?;
    }
    Ok(outcome)
}

fn committed(result: Result<Outcome, Error>) -> Box<ChangeSet> {
    match result {
        Ok(Outcome::Commit(set)) => set,
        other => panic!("no commit but {other:?}"),
    }
}

/// A reader that holds one item, and its publisher.
fn in_step() -> (Publisher, Reader) {
    let mut publisher = Publisher::new();
    let mut reader = publisher.reader();
    publisher.publish(&[change("a", "1")]);
    committed(read(&mut reader, &publisher.full()));
    (publisher, reader)
}

#[test]
fn a_full_set_then_a_difference() {
    let (mut publisher, mut reader) = in_step();
    let set = committed(read(
        &mut reader,
        &publisher.publish(&[change("b", "2"), ("a".into(), None)]),
    ));
    assert!(!set.full && !set.begins_epoch());
    assert_eq!(set.deletes, [("a".into(), Some(DropCause::Deletion))]);
    assert_eq!(reader.document(), &publisher.document);
    assert!(matches!(
        reader.read_line(writer::idle().trim().as_bytes()),
        Ok(Outcome::Idle)
    ));
}

#[test]
fn a_secret_travels_outside_the_digest() {
    let (publisher, mut reader) = in_step();
    let mut frames = publisher.full();
    let secret = SecretFrame {
        key: "variable/x".into(),
        version: 2,
        value: "s3cret".into(),
    };
    assert!(!format!("{secret:?}").contains("s3cret"));
    frames.insert(1, writer::secret(secret).unwrap());
    let set = committed(read(&mut reader, &frames));
    assert_eq!(set.secrets[0].value, "s3cret");
}

#[test]
fn a_malformed_secret_is_not_quoted_in_the_error() {
    let (publisher, mut reader) = in_step();
    reader
        .read_line(publisher.full()[0].trim_end().as_bytes())
        .unwrap();
    let line = br#"{"frame":"secret","key":"a","version":"s3cret","value":1}"#;
    let error = reader.read_line(line).unwrap_err().to_string();
    assert!(
        error.contains("column") && !error.contains("s3cret"),
        "{error}"
    );
}

#[test]
fn a_difference_needs_a_document() {
    let mut publisher = Publisher::new();
    let mut reader = publisher.reader();
    let frames = publisher.publish(&[change("a", "1")]);
    assert!(matches!(
        read(&mut reader, &frames),
        Err(Error::NothingToChange)
    ));
}

#[test]
fn an_older_document_is_refused() {
    let (mut publisher, mut reader) = in_step();
    let old = publisher.full();
    committed(read(&mut reader, &publisher.publish(&[change("a", "2")])));
    let refused = read(&mut reader, &old).unwrap_err();
    assert!(matches!(refused, Error::Older { .. }), "{refused}");
    assert_eq!(refused.code(), "feed_older");
    assert_eq!(reader.document(), &publisher.document);
}

#[test]
fn the_same_position_with_the_same_content_is_a_resync_and_with_other_content_refused() {
    let (mut publisher, mut reader) = in_step();
    committed(read(&mut reader, &publisher.full()));
    publisher.document.put("a", Rendered::of(&"other").unwrap());
    let refused = read(&mut reader, &publisher.full()).unwrap_err();
    assert!(matches!(refused, Error::Rewritten { .. }), "{refused}");
    assert_eq!(refused.code(), "feed_rewritten");
    assert_eq!(
        reader.document().get("a").unwrap(),
        &Rendered::of(&"1").unwrap()
    );
}

#[test]
fn a_new_epoch_starts_its_generations_again() {
    let (mut publisher, mut reader) = in_step();
    publisher.position = Position {
        epoch: Epoch(2),
        generation: Generation(0),
    };
    assert!(committed(read(&mut reader, &publisher.full())).begins_epoch());
    assert!(!committed(read(&mut reader, &publisher.full())).begins_epoch());
}

#[test]
fn another_feeds_commit_and_another_key_are_refused() {
    let (mut publisher, mut reader) = in_step();
    let mut frames = publisher.publish(&[change("a", "2")]);
    let stranger = Publisher {
        document: publisher.document.clone(),
        ..Publisher::new()
    };
    *frames.last_mut().unwrap() = Publisher {
        position: publisher.position,
        ..stranger
    }
    .commit();
    assert!(matches!(
        read(&mut reader, &frames),
        Err(Error::Signature(_))
    ));
    let commit = publisher.signer.commit(
        FeedName::RegionRoutes("eu".parse().unwrap(), Ring::All),
        publisher.position,
        publisher.document.digest(),
        1,
    );
    *frames.last_mut().unwrap() = writer::commit(commit).unwrap();
    assert!(matches!(
        read(&mut reader, &frames),
        Err(Error::OtherFeed(_))
    ));
}

#[test]
fn frames_out_of_order_are_refused_and_forgotten() {
    let (mut publisher, mut reader) = in_step();
    let frames = publisher.publish(&[change("b", "2")]);
    for lines in [
        vec![frames[1].clone()],
        vec![frames[2].clone()],
        vec![frames[0].clone(), frames[0].clone()],
        vec![frames[0].clone(), writer::idle().to_owned()],
    ] {
        assert!(matches!(
            read(&mut reader, &lines),
            Err(Error::Order { .. })
        ));
    }
    committed(read(&mut reader, &frames));
}

#[test]
fn a_cut_connection_leaves_nothing_half_done() {
    let (mut publisher, mut reader) = in_step();
    let frames = publisher.publish(&[change("b", "2")]);
    read(&mut reader, &frames[..2]).unwrap();
    reader.disconnected();
    assert_eq!(reader.document().len(), 1);
    committed(read(&mut reader, &frames));
}

#[test]
fn what_is_too_large_is_refused() {
    let mut publisher = Publisher::new();
    publisher.publish(&[change("a", "11111"), change("b", "2")]);
    let full = publisher.full();
    let limits = Limits::default();
    for (limits, what) in [
        (Limits { items: 1, ..limits }, "items"),
        (
            Limits {
                total_bytes: 60,
                ..limits
            },
            "bytes",
        ),
        (
            Limits {
                line_bytes: 20,
                ..limits
            },
            "",
        ),
    ] {
        let refused = read(&mut publisher.reader_with(limits), &full).unwrap_err();
        let code = refused.code();
        match refused {
            Error::TooLarge { what: found, .. } => {
                assert_eq!((found, code), (what, "feed_too_large"));
            }
            Error::LineTooLong { .. } => assert_eq!((what, code), ("", "feed_line_too_long")),
            other => panic!("{other}"),
        }
    }
}

fn changes() -> impl Strategy<Value = Vec<Vec<Change>>> {
    let change = ("[a-f]{1,2}", prop::option::of("[0-9]{0,4}"));
    prop::collection::vec(prop::collection::vec(change, 0..8), 1..12)
}

proptest! {
    /// Whatever is published, the reader ends with the writer's document, by differences or whole.
    #[test]
    fn the_reader_follows_the_writer(sets in changes(), cuts in prop::collection::vec(any::<bool>(), 12)) {
        let mut publisher = Publisher::new();
        let mut reader = publisher.reader();
        committed(read(&mut reader, &publisher.full()));
        for (changes, cut) in sets.iter().zip(cuts) {
            let difference = publisher.publish(changes);
            if cut {
                read(&mut reader, &difference[..difference.len() - 1]).unwrap();
                reader.disconnected();
                committed(read(&mut reader, &publisher.full()));
            } else {
                committed(read(&mut reader, &difference));
            }
            prop_assert_eq!(reader.document(), &publisher.document);
            prop_assert_eq!(reader.position(), Some(publisher.position));
        }
    }

    /// One damaged byte anywhere: refused, or (in a delete's cause and the like) of no consequence;
    /// never another document than the signed one.
    #[test]
    fn damage_never_applies(sets in changes(), line in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte: u8) {
        let (mut publisher, mut reader) = in_step();
        let before = reader.document().clone();
        let mut frames = publisher.publish(&sets.concat());
        let line = line.index(frames.len());
        let mut bytes = frames[line].trim_end().as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = frames.split_off(line + 1).into_iter().fold(
            { let head = read(&mut reader, &frames[..line]); head.and_then(|_| reader.read_line(&bytes)) },
            |result, next| result.and_then(|_| reader.read_line(next.trim_end().as_bytes())),
        );
        let is_old = reader.document() == &before;
        prop_assert!(is_old || reader.document() == &publisher.document);
    }

    /// Left out, doubled or swapped frames never lead to another document than the signed one.
    #[test]
    fn reordering_never_applies(sets in changes(), order in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let (mut publisher, mut reader) = in_step();
        let before = reader.document().clone();
        let frames = publisher.publish(&sets.concat());
        for at in order {
            let _ = reader.read_line(frames[at.index(frames.len())].trim_end().as_bytes());
        }
        let is_old = reader.document() == &before;
        prop_assert!(is_old || reader.document() == &publisher.document);
    }

    #[test]
    fn arbitrary_bytes_never_panic_nor_apply(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
        let (_, mut reader) = in_step();
        let before = reader.document().clone();
        for line in lines {
            let _ = reader.read_line(&line);
        }
        prop_assert_eq!(reader.document(), &before);
    }

    #[test]
    fn arbitrary_frames_never_panic_nor_apply(frames in prop::collection::vec(
        r#"\{"frame":"(begin|put|delete|commit|secret|idle)"(,"(id|item|epoch|generation|full|cause|count|key|feed)":(-?[0-9]{1,20}|"[a-z]{0,9}"|true|null|\{\})){0,6}\}"#, 0..20)) {
        let (_, mut reader) = in_step();
        let before = reader.document().clone();
        for frame in frames {
            let _ = reader.read_line(frame.as_bytes());
        }
        prop_assert_eq!(reader.document(), &before);
    }
}
