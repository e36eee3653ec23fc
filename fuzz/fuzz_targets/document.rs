//! Documents: whatever the bytes, reading ends in a document or in an error; a document that was accepted is
//! written, read again and compiled as the same one; and no reading takes a route away.
#![no_main]

use std::sync::Arc;

use halftone_routing::{
    document::{
        ReleaseState, RoutingConfig,
        parse::{self, Format},
    },
    routes::{CompiledRelease, Compiler},
    store::{Content, SourceDocument, Store},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [choice, bytes @ ..] = data else { return };
    let format = if choice & 1 == 0 {
        Format::Json
    } else {
        Format::Yaml
    };
    let _ = parse::fleet(bytes, format);
    let content = Content::Text(format, bytes);
    match parse::routing(bytes, format) {
        Ok(parsed) => {
            let written = parsed.config.to_json().expect("short as it is, it fits");
            let again =
                parse::routing(written.as_bytes(), Format::Json).expect("what we write we read");
            let bare = |config: &RoutingConfig| RoutingConfig {
                checksum: None,
                ..config.clone()
            };
            assert_eq!(bare(&again.config), bare(&parsed.config));
            let compiled =
                CompiledRelease::compile(Arc::new(parsed.clone()), &mut Compiler::default());
            let mut store = Store::new();
            let change = store.apply(
                &[SourceDocument {
                    source: "a",
                    content,
                }],
                None,
            );
            assert_eq!(
                change.applied.is_empty(),
                compiled.is_err() && parsed.config.state != ReleaseState::Withdrawn
            );
            let routed = store.routes().len();
            store.apply(&[], None);
            assert_eq!(store.routes().len(), routed, "what vanishes goes on");
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            let mut store = Store::new();
            assert!(
                store
                    .apply(
                        &[SourceDocument {
                            source: "a",
                            content
                        }],
                        None
                    )
                    .is_nothing()
            );
            assert_eq!(store.rejected().len(), 1);
        }
    }
});
