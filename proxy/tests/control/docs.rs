//! Pages under `docs/` that are made from the code, and must not drift from it.

use std::fmt::Write;

use clap::CommandFactory;
use halftone_proxy::admin::metrics;
use halftone_proxy::http1::MessageError;
use halftone_proxy::settings::ProxyFlags;

#[test]
fn the_metrics_page_is_up_to_date() {
    check("metrics.md", &metrics::documentation());
}

#[test]
fn the_flags_page_is_up_to_date() {
    check("flags-proxy.md", &flags());
}

#[test]
fn the_rules_on_the_http_page_are_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/http.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the table has a beginning");
    let (_, after) = rest.split_once(END).expect("the table has an end");
    let mut table = String::from("| word | what is wrong | to a client |\n|---|---|---|\n");
    for rule in MessageError::ALL {
        let _ = writeln!(table, "| `{}` | {rule} | {} |", rule.word(), rule.status());
    }
    check("http.md", &format!("{before}{BEGIN}\n{table}{END}{after}"));
}

/// Around the table of rules.
const BEGIN: &str = "<!-- rules: made from proxy/src/http1/error.rs -->";
const END: &str = "<!-- end of rules -->";

fn check(name: &str, page: &str) {
    let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/{name} is out of date; UPDATE_DOCS=1 cargo test -p halftone-proxy --test control writes it"
    );
}

fn flags() -> String {
    let mut page = String::from(
        "# Flags of `halftone-proxy`\n\n<!-- Made from proxy/src/settings.rs; `UPDATE_DOCS=1 cargo test -p halftone-proxy \
         --test control` writes it again. -->\n\nEach can be given in the environment as well; a flag wins. Durations are \
         written as `500ms`, `30s`, `1m30s` or `1h`.\n",
    );
    let mut command = ProxyFlags::command();
    command.build();
    for flag in command
        .get_arguments()
        .filter(|flag| flag.get_env().is_some())
    {
        let long = flag.get_long().unwrap();
        let value = flag
            .get_action()
            .takes_values()
            .then(|| flag.get_value_names().unwrap()[0].as_str());
        let _ = write!(
            page,
            "\n## `--{long}{}`\n\n",
            value.map(|value| format!(" {value}")).unwrap_or_default()
        );
        let help = flag
            .get_long_help()
            .or(flag.get_help())
            .unwrap()
            .to_string();
        let _ = writeln!(
            page,
            "{}.",
            help.trim()
                .trim_end_matches('.')
                .replace('*', "\\*")
                .replace("\n\n", ".\n\n")
        );
        let _ = write!(
            page,
            "\nEnvironment: `{}`.",
            flag.get_env().unwrap().to_str().unwrap()
        );
        let default = flag
            .get_default_values()
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect::<Vec<_>>();
        if !default.is_empty() && value.is_some() {
            let _ = write!(page, " Default: `{}`.", default.join(","));
        }
        let choices: Vec<_> = flag
            .get_possible_values()
            .iter()
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        if !choices.is_empty() && value.is_some() {
            let _ = write!(page, " One of {}.", choices.join(", "));
        }
        if flag.is_required_set() {
            page.push_str(" Required.");
        }
        page.push('\n');
    }
    page
}
