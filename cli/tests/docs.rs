//! `docs/cli.md` says what `--help` says; this test fails when it drifts, and writes it with `UPDATE_DOCS=1`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_halftone"))
        .args(arguments)
        .arg("--help")
        .env("COLUMNS", "100")
        .output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The names in the list of commands, in their order.
fn commands(help: &str) -> Vec<String> {
    let list = help.split_once("Commands:\n").map_or("", |(_, list)| list);
    let lines = list.lines().take_while(|line| !line.is_empty());
    let named = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    named
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn docs_of_the_command_line_say_what_help_says() {
    let top = help(&[]);
    let mut docs = format!(
        "# `halftone`\n\nGenerated from `--help`; see CONTRIBUTING.md.\n\n```text\n{top}\n```\n"
    );
    let names = commands(&top);
    assert!(names.iter().any(|name| name == "run"), "{top}");
    for name in names {
        let told = help(&[&name]);
        write!(docs, "\n## `halftone {name}`\n\n```text\n{told}\n```\n").unwrap();
        for sub in commands(&told) {
            let told = help(&[&name, &sub]);
            write!(
                docs,
                "\n### `halftone {name} {sub}`\n\n```text\n{told}\n```\n"
            )
            .unwrap();
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &docs).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == docs,
        "docs/cli.md is not what --help says; run UPDATE_DOCS=1 cargo test -p halftone --test docs"
    );
}
