//! An event's raw body as the log holds it, compressed.
//!
//! Its first four bytes, a little-endian number, tell its size (the lower 24 bits) and the dictionary that it was written
//! with (the upper 8; 0 is none); an LZ4 block follows.
//!
//! Events are much alike: with a dictionary of what they have in common, a checkout's takes a third of the time to compress,
//! and a third to a half of the place, in Redis and for 30 days in the store (measured on events that others collected, of
//! four versions of Stripe's API; other events take 0.65 to 0.9). What bodies were written with must stay as it is: a better
//! dictionary gets the next number, beside this one.

use std::cell::RefCell;

use lz4rip::block::{DecompressError, DecompressorRef, DictCompressor, get_maximum_output_size};

/// Events of Checkout Sessions by Stripe's documentation, two spaces of indent, every field: what differs from most first,
/// since a match that is nearer is found first.
const DICTIONARY_1: &[u8] = include_bytes!("dictionary_1.txt");

/// Sizes are told in 24 bits; the intake takes 1 MiB.
const LONGEST: usize = (1 << 24) - 1;

/// As much of the room to compress into is kept for the next body.
const ROOM_KEPT: usize = 64 << 10;

thread_local! {
    /// The dictionary is hashed once for each thread: for each body it would take two thirds as long as the body itself.
    static COMPRESSOR: RefCell<(DictCompressor, Vec<u8>)> =
        RefCell::new((DictCompressor::new(DICTIONARY_1), Vec::new()));
}

/// Why a body is none that `compress` made.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("a body of {0} bytes is too short to tell its size")]
    Short(usize),
    #[error("its dictionary {0} is unknown here: a newer version wrote it")]
    Dictionary(u32),
    #[error(transparent)]
    Block(#[from] DecompressError),
}

/// A body as the log holds it; `None` for one of 16 MiB or more, which no setting lets in.
pub(super) fn compress(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() > LONGEST {
        return None;
    }
    let head = u32::try_from(body.len()).ok()? | 1 << 24;
    COMPRESSOR.with_borrow_mut(|(compressor, room)| {
        room.resize(room.len().max(get_maximum_output_size(body.len())), 0);
        let size = compressor.compress_into(body, room).ok()?;
        let bytes = [&head.to_le_bytes(), &room[..size]].concat();
        room.truncate(ROOM_KEPT);
        room.shrink_to(ROOM_KEPT);
        Some(bytes)
    })
}

/// The body that [`compress`] was given.
pub(super) fn decompress(bytes: &[u8]) -> Result<Vec<u8>, BodyError> {
    let (head, block) = bytes
        .split_first_chunk::<4>()
        .ok_or(BodyError::Short(bytes.len()))?;
    let head = u32::from_le_bytes(*head);
    let size = head as usize & LONGEST;
    let dictionary = match head >> 24 {
        // Before there were dictionaries.
        0 => b"",
        1 => DICTIONARY_1,
        other => return Err(BodyError::Dictionary(other)),
    };
    Ok(DecompressorRef::with_dict(dictionary).decompress(block, size)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::clock::Clock;
    use crate::up::sample::SampleSession;

    #[test]
    fn a_body_of_any_size_comes_back_as_it_was() {
        for size in [
            0, 1, 12, 13, 3_400, 65_535, 65_536, 65_537, 70_000, 1_048_576, 16_000_000, 3_400,
        ] {
            let body: Vec<u8> = (0..size)
                .map(|at: u32| (at.wrapping_mul(at) % 251) as u8)
                .collect();
            let back = decompress(&compress(&body).unwrap()).unwrap();
            assert!(back == body, "{size} bytes");
        }
        assert_eq!(compress(&vec![0; LONGEST + 1]), None);
    }

    #[test]
    fn a_body_from_before_there_were_dictionaries_is_read() {
        let body = b"{\"id\":\"evt_1\",\"object\":\"event\"}".repeat(20);
        assert_eq!(decompress(&lz4_flex::compress_prepend_size(&body)).unwrap(), body);
    }

    #[test]
    fn a_large_body_leaves_no_large_room_behind() {
        compress(&vec![7; 1 << 20]).unwrap();
        COMPRESSOR.with_borrow(|(_, room)| assert!(room.capacity() < 2 * ROOM_KEPT));
    }

    #[test]
    fn the_dictionary_that_bodies_were_written_with_is_as_it_was() {
        assert_eq!(
            hex::encode(Sha256::digest(DICTIONARY_1)),
            "cdac8f9b787c7bd43b58bc5f081774526daea12392ee0cbaf5003184cd8aa109"
        );
    }

    #[test]
    fn a_checkouts_event_takes_less_than_a_fifth_of_its_size() {
        let session = SampleSession::ten_classes("7tZqM2xVbN4cRkW9yLpS1fG", Clock::system().now());
        let body = session.event("checkout.session.completed", 1);
        let (plain, ours) = (lz4_flex::compress(&body).len(), compress(&body).unwrap().len());
        println!(
            "{} bytes: {plain} without a dictionary, {ours} with it",
            body.len()
        );
        assert!(ours * 5 < body.len() && ours * 2 < plain, "{plain} {ours}");
    }

    #[test]
    fn what_no_version_wrote_is_refused() {
        assert!(matches!(decompress(b"abc"), Err(BodyError::Short(3))));
        assert!(matches!(
            decompress(&[9, 0, 0, 200, 1]),
            Err(BodyError::Dictionary(200))
        ));
        let mut short = compress(b"a body that is longer than it says").unwrap();
        short[0] = 4;
        assert!(matches!(decompress(&short), Err(BodyError::Block(_))));
    }

    /// Texts as JSON has them: much of it is the dictionary's, or has stood there before.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let known = (0..DICTIONARY_1.len(), 0..400_usize)
            .prop_map(|(at, size)| DICTIONARY_1[at..DICTIONARY_1.len().min(at + size)].to_vec());
        let new = prop::collection::vec(any::<u8>(), 0..40);
        let again = (any::<u8>(), 0..300_usize).prop_map(|(byte, size)| vec![byte; size]);
        prop::collection::vec(prop_oneof![4 => known, 3 => new, 1 => again], 0..60)
            .prop_map(|parts| parts.concat())
    }

    proptest! {
        /// What is stored was, or may be, written or read by another implementation.
        #[test]
        fn lz4_flex_reads_what_we_write_and_we_read_what_it_writes(bodies in prop::collection::vec(text(), 1..8)) {
            for body in bodies {
                let ours = compress(&body).unwrap();
                let theirs = lz4_flex::block::decompress_with_dict(&ours[4..], body.len(), DICTIONARY_1);
                prop_assert_eq!(theirs.unwrap(), &body[..]);
                let mut theirs = lz4_flex::block::compress_prepend_size_with_dict(&body, DICTIONARY_1);
                theirs[3] = 1;
                prop_assert_eq!(decompress(&theirs).unwrap(), body);
            }
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), dictionary in 0..2_u8) {
            let mut block = vec![200, 0, 0, dictionary];
            block.extend(bytes);
            let _ = decompress(&block);
        }
    }
}
