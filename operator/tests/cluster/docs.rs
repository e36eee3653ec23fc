//! Pages under `docs/` that are made from the code, and must not drift from it.

use std::fmt::Write;

use clap::CommandFactory;
use halftone_operator::args::OperatorFlags;

#[test]
fn the_flags_page_is_up_to_date() {
    let path = format!("{}/../docs/flags-operator.md", env!("CARGO_MANIFEST_DIR"));
    let page = flags();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/flags-operator.md is out of date; UPDATE_DOCS=1 cargo test -p halftone-operator --test cluster writes it"
    );
}

fn flags() -> String {
    let mut page = String::from(
        "# Flags of `halftone-operator`\n\n<!-- Made from operator/src/args.rs; `UPDATE_DOCS=1 cargo test -p \
         halftone-operator --test cluster` writes it again. -->\n\nEach can be given in the environment as well; a flag \
         wins.\n",
    );
    let mut command = OperatorFlags::command();
    command.build();
    for flag in command
        .get_arguments()
        .filter(|flag| flag.get_env().is_some())
    {
        let long = flag.get_long().unwrap();
        let value = flag.get_value_names().unwrap()[0].as_str();
        let help = flag
            .get_long_help()
            .or(flag.get_help())
            .unwrap()
            .to_string();
        let help = help.trim().trim_end_matches('.').replace("\n\n", ".\n\n");
        let _ = write!(page, "\n## `--{long} {value}`\n\n{help}.\n\n");
        let _ = write!(
            page,
            "Environment: `{}`.",
            flag.get_env().unwrap().to_str().unwrap()
        );
        let defaults: Vec<_> = flag
            .get_default_values()
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        if !defaults.is_empty() {
            let _ = write!(page, " Default: `{}`.", defaults.join(","));
        }
        let choices: Vec<_> = flag
            .get_possible_values()
            .iter()
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        if !choices.is_empty() {
            let _ = write!(page, " One of {}.", choices.join(", "));
        }
        if flag.is_required_set() {
            page.push_str(" Required.");
        }
        page.push('\n');
    }
    page
}
