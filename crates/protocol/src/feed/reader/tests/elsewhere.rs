//! Going on from the disk, and from another ring's routes.

use super::*;

#[test]
fn a_document_from_disk_must_be_the_signed_one() {
    let (publisher, reader) = in_step();
    let keys = FeedKeys::from_base64(&[publisher.signer.public_key()]).unwrap();
    let resume = |document| {
        Reader::resume(
            FeedName::GlobalRoutes(Ring::All),
            keys.clone(),
            Limits::default(),
            document,
            reader.applied().unwrap().clone(),
        )
    };
    assert!(resume(reader.document().clone()).is_ok());
    let mut changed = reader.document().clone();
    changed.put("a", Rendered::of(&"2").unwrap());
    assert!(matches!(resume(changed), Err(Error::Digest { .. })));
}

/// What another ring's feed has, signed by the same control plane.
fn other_ring(publisher: &Publisher, ring: Ring, generation: i64, full: bool) -> Vec<String> {
    let position = Position {
        epoch: Epoch(1),
        generation: Generation(generation),
    };
    let mut document = publisher.document.clone();
    let item = Rendered::of(&"there").unwrap();
    document.put("b", item.clone());
    let mut frames = vec![writer::begin(position, full).unwrap()];
    if full {
        frames.extend(
            document
                .iter()
                .map(|(id, item)| writer::put(id, item).unwrap()),
        );
    } else {
        frames.push(writer::put("b", &item).unwrap());
    }
    let feed = FeedName::GlobalRoutes(ring);
    let count = document.len() as u64;
    let commit = publisher
        .signer
        .commit(feed, position, document.digest(), count);
    frames.push(writer::commit(commit).unwrap());
    frames
}

#[test]
fn another_ring_has_positions_of_its_own_and_begins_with_the_whole() {
    let (mut publisher, mut reader) = in_step();
    for _ in 0..5 {
        let frames = publisher.publish(&[change("a", "2")]);
        committed(read(&mut reader, &frames));
    }
    let canary = |full| other_ring(&publisher, Ring::Canary, 2, full);
    // Not asked for.
    assert!(matches!(
        read(&mut reader, &canary(true)),
        Err(Error::Older { .. })
    ));

    reader.follow(Ring::Canary);
    assert_eq!(reader.position(), None, "everything is asked for");
    assert_eq!(
        reader.document(),
        &publisher.document,
        "the last good one stays"
    );
    assert!(matches!(
        read(&mut reader, &canary(false)),
        Err(Error::NothingToChange)
    ));
    let set = committed(read(&mut reader, &canary(true)));
    assert!(set.full && !set.begins_epoch());
    assert_eq!(reader.document().len(), 2);
    assert_eq!(reader.position().unwrap().generation, Generation(2));
    assert!(matches!(
        read(&mut reader, &other_ring(&publisher, Ring::Canary, 1, true)),
        Err(Error::Older { .. })
    ));

    assert!(matches!(
        read(&mut reader, &publisher.full()),
        Err(Error::OtherFeed(_))
    ));
    reader.follow(Ring::All);
    let set = committed(read(&mut reader, &publisher.full()));
    assert!(set.full);
    assert_eq!(reader.document(), &publisher.document);
}
