//! Lines across restarts, power losses and full disks.

use protocol::log::Stream;

use super::*;

fn line(text: &str) -> LogLine {
    LogLine {
        at: Utc::now(),
        stream: Stream::Stdout,
        text: text.to_owned(),
    }
}

fn texts(pending: &Pending) -> Vec<&str> {
    pending
        .lines
        .iter()
        .map(|line| line.text.as_str())
        .collect()
}

#[test]
fn goes_on_after_a_restart_with_a_torn_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ins");
    let mut spool = Spool::open(path.clone()).unwrap();
    spool.append(&[line("one"), line("two")], 0).unwrap();
    spool.acknowledge(0, 1).unwrap();
    let file = path.join(format!("{:020}.ndjson", 0));
    let mut bytes = fs::read(&file).unwrap();
    bytes.extend_from_slice(b"{\"at\":\"20");
    fs::write(&file, bytes).unwrap();

    let mut spool = Spool::open(path).unwrap();
    spool.append(&[line("three")], 0).unwrap();
    let pending = spool.pending().unwrap().unwrap();
    assert_eq!(pending.first_line, 1);
    assert_eq!(texts(&pending), ["two", "three"]);
}

#[test]
fn a_gap_is_told_before_the_line_that_follows_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path().join("ins")).unwrap();
    spool.append(&[line("one")], 0).unwrap();
    spool.append(&[], 7).unwrap();
    spool.append(&[line("two")], 2).unwrap();
    let first = spool.pending().unwrap().unwrap();
    assert_eq!((texts(&first), first.dropped), (vec!["one"], 0));
    spool.acknowledge(0, 1).unwrap();
    let second = spool.pending().unwrap().unwrap();
    assert_eq!((texts(&second), second.dropped), (vec!["two"], 9));
}

#[test]
fn a_long_line_is_cut_between_characters() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path().join("ins")).unwrap();
    spool.append(&[line(&"ä".repeat(TEXT_BYTES))], 0).unwrap();
    let text = &spool.pending().unwrap().unwrap().lines[0].text;
    assert_eq!(text.len(), TEXT_BYTES);
}

/// In place of the segment, as far as opening it goes, stands something that can't be opened.
fn with_unusable(file: &Path, act: impl FnOnce()) {
    let aside = file.with_extension("aside");
    fs::rename(file, &aside).unwrap();
    fs::create_dir(file).unwrap();
    act();
    fs::remove_dir(file).unwrap();
    fs::rename(&aside, file).unwrap();
}

#[test]
fn lines_that_a_full_disk_refuses_are_counted_and_spoil_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ins");
    let mut spool = Spool::open(path.clone()).unwrap();
    spool.append(&[line("one")], 0).unwrap();
    let file = path.join(format!("{:020}.ndjson", 0));
    with_unusable(&file, || {
        spool
            .append(&[line("lost"), line("as well")], 3)
            .unwrap_err();
    });
    // As much of it as the disk had room for.
    let mut bytes = fs::read(&file).unwrap();
    bytes.extend_from_slice(b"{\"at\":\"20");
    fs::write(&file, bytes).unwrap();

    let first = spool.pending().unwrap().unwrap();
    assert_eq!((texts(&first), first.dropped), (vec!["one"], 0));
    spool.acknowledge(0, 1).unwrap();
    spool.append(&[line("two")], 1).unwrap();
    let second = spool.pending().unwrap().unwrap();
    assert_eq!((texts(&second), second.dropped), (vec!["two"], 6));
}

#[test]
fn a_position_that_a_power_loss_has_taken_holds_no_line_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ins");
    let mut spool = Spool::open(path.clone()).unwrap();
    let long = "x".repeat(TEXT_BYTES);
    for _ in 0..100 {
        spool.append(&[line(&long)], 0).unwrap();
    }
    while let Some(pending) = spool.pending().unwrap() {
        let shipped = pending.lines.len();
        spool.acknowledge(pending.first_line, shipped).unwrap();
    }
    fs::write(path.join(POSITION), "").unwrap();

    let mut spool = Spool::open(path).unwrap();
    spool.append(&[line("new")], 0).unwrap();
    let mut seen = Vec::new();
    while let Some(pending) = spool.pending().unwrap() {
        seen.extend(pending.lines.iter().map(|line| line.text.clone()));
        spool
            .acknowledge(pending.first_line, pending.lines.len())
            .unwrap();
    }
    assert_eq!(seen.last().map(String::as_str), Some("new"));
}
