//! Heads held against the grammar's own parser, over generated and mutated messages, however they arrive.

use halftone_proxy::http1::{HeadSearch, HttpVersion, MessageError};
use proptest::prelude::*;

use crate::{
    messages::{mutate, mutations, request_head},
    oracle,
    refusals::{GET, with_request, with_response},
};

/// Errors about the form of a message, which the oracle must then find too; the others are about meaning
/// and limits, where we refuse what the grammar allows.
fn is_about_form(error: MessageError) -> bool {
    use MessageError as E;
    matches!(
        error,
        E::BareLf
            | E::BareCr
            | E::FirstLine
            | E::Version
            | E::Status
            | E::FieldName
            | E::FieldValue
            | E::ObsFold
            | E::Target
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn we_take_a_request_apart_as_the_grammar_does(
        head in request_head(),
        changes in mutations(),
        body in "[a-z\r\n]{0,6}",
    ) {
        let mut bytes = mutate(head, &changes);
        bytes.extend(body.bytes());
        let ours = with_request(&bytes, |head, rest| oracle::OracleRequest {
            method: head.method_name.to_owned(),
            target: received_target(&bytes),
            minor: u8::from(head.version == HttpVersion::Http11),
            fields: owned(head.fields.as_slice().iter().map(|field| (field.name, field.value))),
            length: bytes.len() - rest.len(),
        });
        let theirs = oracle::request(&bytes);
        match (ours, theirs) {
            (Ok(Some(ours)), theirs) => {
                let hosts = ours.values("host").count();
                prop_assert!(hosts == 1 || hosts == 0 && ours.minor == 0);
                prop_assert_eq!(Some(ours), theirs);
            }
            (Ok(None), theirs) => prop_assert_eq!(theirs, None, "the end was not found"),
            (Err(error), Some(_)) => prop_assert!(!is_about_form(error), "{error:?} is not what the grammar says"),
            (Err(_), None) => {}
        }
    }

    #[test]
    fn we_take_an_answer_apart_as_the_grammar_does(
        line in "HTTP/1\\.[01]( )?[0-6][0-9]{2}( [A-Za-z ]{0,4})?",
        fields in proptest::collection::vec("[A-Za-z-]{1,6} ?: ?[ -~]{0,6}", 0..4),
        changes in mutations(),
    ) {
        let head = format!("{line}\r\n{}\r\n", fields.into_iter().map(|field| field + "\r\n").collect::<String>());
        let bytes = mutate(head.into_bytes(), &changes);
        let ours = with_response(&bytes, GET, |head, rest| oracle::OracleResponse {
            status: head.status,
            minor: u8::from(head.version == HttpVersion::Http11),
            fields: owned(head.fields.as_slice().iter().map(|field| (field.name, field.value))),
            length: bytes.len() - rest.len(),
        });
        let theirs = oracle::response(&bytes);
        match ours {
            Ok(Some(ours)) => prop_assert_eq!(Some(ours), theirs),
            Ok(None) => prop_assert_eq!(theirs, None, "the end was not found"),
            Err(error) if is_about_form(error) => prop_assert_eq!(theirs, None, "{:?}", error),
            Err(_) => {}
        }
    }

    #[test]
    fn the_end_of_a_head_does_not_depend_on_how_its_bytes_arrive(
        head in request_head(),
        changes in mutations(),
        step in 1_usize..20,
    ) {
        let bytes = mutate(head, &changes);
        let at_once = HeadSearch::request().advance(&bytes);
        let mut search = HeadSearch::request();
        let mut ends: Vec<usize> = (0..bytes.len()).step_by(step).collect();
        ends.push(bytes.len());
        let piecewise = ends.into_iter().map(|end| search.advance(&bytes[..end])).find(|found| *found != Ok(None));
        // Which of two errors is found first may depend on what was there when it was looked.
        prop_assert_eq!(piecewise.unwrap_or(Ok(None)).ok(), at_once.ok());
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = with_request(&bytes, |_, _| ());
        let _ = with_response(&bytes, GET, |_, _| ());
    }
}

fn received_target(bytes: &[u8]) -> Vec<u8> {
    bytes
        .trim_ascii_start()
        .split(|byte| *byte == b' ')
        .nth(1)
        .unwrap_or_default()
        .to_vec()
}

fn owned<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<(String, Vec<u8>)> {
    fields
        .map(|(name, value)| (String::from_utf8(name.to_vec()).unwrap(), value.to_vec()))
        .collect()
}
