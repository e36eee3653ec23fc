//! Chunked bodies: however the bytes arrive they mean the same, nothing is handed out twice or made up, and
//! what we write again is read again as it was.
#![no_main]

use halftone_proxy::http1::{
    ChunkRules, DecodedPart, Decoder, MessageError, Strictness,
    chunked::{MAX_SIZE_LINE, append_end, size_line},
};
use libfuzzer_sys::fuzz_target;

/// Data, trailers, bytes used; `None` while it is not whole.
fn decode(
    bytes: &[u8],
    step: usize,
    strictness: Strictness,
) -> Result<Option<(Vec<u8>, Vec<u8>, usize)>, MessageError> {
    let mut decoder = Decoder::by(&ChunkRules {
        strictness,
        ..ChunkRules::default()
    });
    let (mut data, mut at) = (Vec::new(), 0);
    for piece in bytes.chunks(step) {
        let mut input = piece;
        loop {
            let (used, decoded) = decoder.next(input)?;
            input = &input[used..];
            at += used;
            match decoded {
                DecodedPart::Data(slice) => data.extend_from_slice(slice),
                DecodedPart::End => return Ok(Some((data, decoder.trailers().to_vec(), at))),
                DecodedPart::More => break,
            }
        }
        assert!(input.is_empty());
    }
    assert!(data.len() <= bytes.len());
    Ok(None)
}

fuzz_target!(|input: &[u8]| {
    let [step, bytes @ ..] = input else { return };
    for strictness in [Strictness::Strict, Strictness::Lenient] {
        let at_once = decode(bytes, usize::MAX, strictness);
        assert_eq!(
            decode(bytes, usize::from(*step).max(1), strictness),
            at_once
        );
    }
    let at_once = decode(bytes, usize::MAX, Strictness::Strict);
    let Ok(Some((data, trailers, _))) = &at_once else {
        return;
    };
    assert_eq!(
        decode(bytes, usize::MAX, Strictness::Lenient),
        at_once,
        "leniency reads nothing differently"
    );
    let mut out = Vec::new();
    for piece in data.chunks(usize::from(*step).max(1)) {
        out.extend_from_slice(size_line(piece.len(), &mut [0; MAX_SIZE_LINE]));
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    append_end(&mut out, trailers);
    let length = out.len();
    let again = decode(&out, usize::MAX, Strictness::Strict);
    assert_eq!(again, Ok(Some((data.clone(), trailers.clone(), length))));
});
