//! An event's raw body as the log holds it: compressed with LZ4 and a dictionary.
//!
//! Its first four bytes, a little-endian number, are its size (the lower 24 bits) and the number of the dictionary (the upper
//! 8; 0: none). An LZ4 block follows. The dictionary is what checkout events have in common: it halves the result. Stored
//! bodies need it as it is, so a better dictionary gets the next number, beside this one.

use lz4_flex::block::{DecompressError, compress_prepend_size_with_dict, decompress_with_dict};

/// Events of Checkout Sessions by Stripe's documentation, two spaces of indent, every field: what differs from most first,
/// since a match that is nearer is found first.
const DICTIONARY_1: &[u8] = include_bytes!("dictionary_1.txt");

/// The size has 24 bits; the intake accepts 1 MiB.
const LONGEST: usize = (1 << 24) - 1;

/// Why a body cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("a body of {0} bytes is too short to have a size")]
    Short(usize),
    #[error("dictionary {0} is unknown: a newer version wrote this body")]
    Dictionary(u8),
    #[error(transparent)]
    Block(#[from] DecompressError),
}

/// A body as the log holds it; `None` for one of 16 MiB or more, which no setting accepts.
pub(super) fn compress(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() > LONGEST {
        return None;
    }
    let mut bytes = compress_prepend_size_with_dict(body, DICTIONARY_1);
    *bytes.get_mut(3)? = 1;
    Some(bytes)
}

/// The body that [`compress`] was given.
pub(super) fn decompress(bytes: &[u8]) -> Result<Vec<u8>, BodyError> {
    let (&[a, b, c, dictionary], block) = bytes
        .split_first_chunk::<4>()
        .ok_or(BodyError::Short(bytes.len()))?;
    let size = u32::from_le_bytes([a, b, c, 0]) as usize;
    let dictionary = match dictionary {
        // Before there were dictionaries.
        0 => b"",
        1 => DICTIONARY_1,
        other => return Err(BodyError::Dictionary(other)),
    };
    Ok(decompress_with_dict(block, size, dictionary)?)
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
    fn a_body_that_another_lz4_wrote_is_read() {
        // By lz4rip 0.12, which earlier versions used.
        let bytes = hex::decode(
            "8a000001127b560004770f07fc0e04750f0eb60006e8130de40f0413025464222c2022fd1407500f0fcd0302606964227d7d7d",
        );
        let body = r#"{"id": "evt_1", "object": "event", "livemode": true, "type": "checkout.session.completed", "data": {"object": {"payment_status": "paid"}}}"#;
        assert_eq!(decompress(&bytes.unwrap()).unwrap(), body.as_bytes());
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
        #[test]
        fn any_text_comes_back_as_it_was(body in text()) {
            prop_assert_eq!(decompress(&compress(&body).unwrap()).unwrap(), body);
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), dictionary in 0..2_u8) {
            let mut block = vec![200, 0, 0, dictionary];
            block.extend(bytes);
            let _ = decompress(&block);
        }
    }
}
