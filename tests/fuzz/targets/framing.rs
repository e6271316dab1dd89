//! Bytes to lines: however the reads cut a stream, the lines are the same.

use oncewatch::edge::ingest::framing::{Framer, Lines};

/// The first byte is the longest line; then the lengths of the reads up to a zero; then the stream.
pub fn check(data: &[u8]) {
    let Some((&longest, rest)) = data.split_first() else {
        return;
    };
    let line_bytes_max = usize::from(longest);
    let cuts = rest
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(rest.len());
    let (cuts, stream) = rest.split_at(cuts);
    let stream = stream.get(1..).unwrap_or_default();
    let wanted = by_splitting(stream, line_bytes_max);
    assert_eq!(by_reading(stream, line_bytes_max, cuts), wanted);
    let mut whole = Lines::whole(stream, line_bytes_max);
    let lines = used(whole.by_ref());
    assert_eq!((lines, whole.too_long()), wanted, "at once");
}

fn by_splitting(stream: &[u8], line_bytes_max: usize) -> (Vec<Vec<u8>>, usize) {
    let lines = stream.split(|&byte| byte == b'\n');
    let (short, long): (Vec<_>, Vec<_>) = lines.partition(|line| line.len() <= line_bytes_max);
    (used(short.into_iter()), long.len())
}

fn by_reading(stream: &[u8], line_bytes_max: usize, cuts: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let mut framer = Framer::new(line_bytes_max);
    let (mut lines, mut too_long, mut rest) = (Vec::new(), 0, stream);
    let mut cuts = cuts.iter().copied().cycle();
    while !rest.is_empty() {
        let cut = usize::from(cuts.next().unwrap_or(u8::MAX)).max(1);
        let (chunk, after) = rest.split_at(cut.min(rest.len()));
        rest = after;
        let mut read = framer.feed(chunk);
        lines.extend(used(read.by_ref()));
        too_long += read.too_long();
        // A silent stream gives memory back; it must not lose the line that is under way.
        if cut % 2 == 0 {
            framer.shrink();
        }
    }
    lines.extend(used(framer.finish().into_iter()));
    (lines, too_long)
}

/// Lines with something in them.
fn used<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let lines = lines.filter(|line| !line.is_empty());
    lines.map(<[u8]>::to_vec).collect()
}
