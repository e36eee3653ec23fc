//! The HTTP/1.1 layer held against what others make of the same bytes: a naive parser written from the
//! RFCs' grammar for heads (`oracle`), hyper for bodies, and tables with a row for every rule.
//! We may refuse more than they do, never accept more.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]

mod bodies;
mod forwarding;
mod heads;
mod messages;
mod oracle;
mod refusals;
mod rewriting;

use std::{fs, path::Path};

/// The pure layer must stay usable, and testable, without a runtime.
#[test]
fn the_http1_layer_names_no_runtime_and_no_socket() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<_> = ["http1", "http1/write"]
        .iter()
        .flat_map(|folder| fs::read_dir(source.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.extend(
        ["http1.rs", "forwarded.rs", "retry.rs", "outcome.rs"].map(|name| source.join(name)),
    );
    assert!(
        files.len() > 8,
        "the files are no longer where this test looks"
    );
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for word in [
                "tokio",
                "hyper",
                "std::net::Tcp",
                "std::io::Read",
                "Instant",
                "SystemTime",
            ] {
                assert!(
                    !line.contains(word),
                    "{} names {word}: {line}",
                    file.display()
                );
            }
        }
    }
}
