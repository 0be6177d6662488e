//! What is far too large costs little memory, because it is refused long before it has all come.

use std::fs;

use protocol::feed::{signature::FeedKeys, writer};
use testkit::poison::{Forge, endpoint, service_item};

use super::{
    Feed,
    good::Good,
    victim::{Victim, names},
};

const MIB: usize = 1 << 20;
const PIECE: usize = 64 << 10;

fn victim() -> (Good, Victim, Forge) {
    let good = Good::new();
    let [_, _, region] = names(&good);
    let forge = Forge::new(region);
    let keys = FeedKeys::from_base64(&[forge.public_key()]).unwrap();
    let mut victim = Victim::new(&good, keys);
    victim.connected(Feed::Region);
    (good, victim, forge)
}

/// The most memory that this process has had since [`forget_peak`].
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|n| n.parse::<usize>().ok()).unwrap() * 1_024
}

fn forget_peak() -> usize {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    peak()
}

/// Sends until the node has had enough. Answers how many bytes that took.
fn send(victim: &mut Victim, pieces: impl Iterator<Item = String>) -> usize {
    let mut sent = 0;
    for piece in pieces {
        sent += piece.len();
        if victim
            .receive_piece(Feed::Region, piece.as_bytes())
            .is_err()
        {
            return sent;
        }
    }
    panic!("all {sent} bytes were taken");
}

#[test]
fn a_line_without_an_end_is_refused_at_its_limit() {
    let (_, mut victim, _) = victim();
    let before = forget_peak();
    let pieces = std::iter::repeat_n("x".repeat(PIECE), 1_000);
    assert!(send(&mut victim, pieces) <= MIB + PIECE);
    let grown = peak() - before;
    assert!(grown < 8 * MIB, "{grown} bytes");
}

#[test]
fn a_service_with_a_million_endpoints_is_refused_at_the_limit_of_a_line() {
    let (good, mut victim, forge) = victim();
    let one = endpoint(good.node, ([192, 0, 2, 1], 1).into());
    let service = &good.services[0];
    let (id, mut item) = service_item(service.id, Vec::new());
    item["endpoints"] = serde_json::json!([]);
    let begin = writer::begin(forge.position, true).unwrap();
    let (head, tail) = {
        let text = serde_json::to_string(&item).unwrap();
        let (head, tail) = text.split_once("\"endpoints\":[").unwrap();
        (head.to_owned(), tail.to_owned())
    };
    let head = format!("{begin}{{\"frame\":\"put\",\"id\":\"{id}\",\"item\":{head}\"endpoints\":[");
    let text = serde_json::to_string(&one).unwrap();
    let before = forget_peak();
    let endpoints = std::iter::repeat_n(format!("{text},").repeat(500), 2_000);
    let pieces = [head].into_iter().chain(endpoints).chain([tail]);
    assert!(send(&mut victim, pieces) <= 2 * MIB);
    let grown = peak() - before;
    assert!(grown < 16 * MIB, "{grown} bytes");
}

/// Each service looks right; together they have more than a region's document may.
#[test]
fn more_than_a_million_endpoints_of_many_services_are_refused_at_the_limit_of_a_document() {
    let (good, mut victim, forge) = victim();
    let begin = writer::begin(forge.position, true).unwrap();
    let endpoints = vec![endpoint(good.node, ([192, 0, 2, 1], 1).into()); 100];
    let puts = (0..12_000).map(|_| {
        let (id, item) = service_item(domain::id::ServiceId::new(), endpoints.clone());
        let item = protocol::feed::digest::Rendered::of(&item).unwrap();
        writer::put(&id, &item).unwrap()
    });
    let before = forget_peak();
    let sent = send(&mut victim, [begin].into_iter().chain(puts));
    let document = 128 * MIB;
    assert!(
        (document..document + 2 * MIB).contains(&sent),
        "{sent} bytes"
    );
    let grown = peak() - before;
    assert!(grown < 300 * MIB, "{grown} bytes");
}
