//! Chunked bodies: however the bytes arrive they mean the same, nothing is handed out twice or made up, and
//! what we write again is read again as it was.
#![no_main]

use halftone_proxy::http1::{
    Decoded, Decoder, MessageError,
    chunked::{append_chunk, append_end},
};
use libfuzzer_sys::fuzz_target;

/// Data, trailers, bytes used; `None` while it is not whole.
fn decode(bytes: &[u8], step: usize) -> Result<Option<(Vec<u8>, Vec<u8>, usize)>, MessageError> {
    let mut decoder = Decoder::new();
    let (mut data, mut at) = (Vec::new(), 0);
    for piece in bytes.chunks(step) {
        let mut input = piece;
        loop {
            let (used, decoded) = decoder.next(input)?;
            input = &input[used..];
            at += used;
            match decoded {
                Decoded::Data(slice) => data.extend_from_slice(slice),
                Decoded::End => return Ok(Some((data, decoder.trailers().to_vec(), at))),
                Decoded::More => break,
            }
        }
        assert!(input.is_empty());
    }
    assert!(data.len() <= bytes.len());
    Ok(None)
}

fuzz_target!(|input: &[u8]| {
    let [step, bytes @ ..] = input else { return };
    let at_once = decode(bytes, usize::MAX);
    assert_eq!(decode(bytes, usize::from(*step).max(1)), at_once);
    let Ok(Some((data, trailers, _))) = at_once else { return };
    let mut out = Vec::new();
    for piece in data.chunks(usize::from(*step).max(1)) {
        append_chunk(&mut out, piece);
    }
    append_end(&mut out, &trailers);
    let length = out.len();
    assert_eq!(decode(&out, usize::MAX), Ok(Some((data, trailers, length))));
});
