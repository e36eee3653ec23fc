//! What `--help` shows of each command in use. A test parses every line.

use clap::Command;

/// The examples of each command, by its name.
const EXAMPLES: [(&str, &[&str]); 25] = [
    (
        "run",
        &[
            "halftone run release.yaml",
            "halftone run shop.yaml site.yaml --listen 8080 --state /var/lib/halftone",
        ],
    ),
    ("demo", &["halftone demo"]),
    (
        "status",
        &[
            "halftone status",
            "halftone status checkout -n shop",
            "halftone status checkout -o yaml",
        ],
    ),
    (
        "get",
        &[
            "halftone get -A",
            "halftone get -l team=shop -o wide",
            "halftone get -o name",
        ],
    ),
    (
        "watch",
        &[
            "halftone watch",
            "halftone watch checkout -n shop --gray v2 --timeout 2h",
        ],
    ),
    (
        "approve",
        &[
            "halftone approve checkout -n shop",
            "halftone approve checkout --step 2",
        ],
    ),
    ("promote", &["halftone promote checkout -n shop"]),
    ("rollback", &["halftone rollback checkout -n shop"]),
    ("retry", &["halftone retry checkout -n shop"]),
    ("pause", &["halftone pause checkout -n shop"]),
    ("resume", &["halftone resume checkout -n shop"]),
    (
        "history",
        &[
            "halftone history checkout -n shop",
            "halftone history checkout -o json",
        ],
    ),
    (
        "events",
        &[
            "halftone events checkout -n shop",
            "halftone events checkout -f --json",
        ],
    ),
    (
        "config",
        &[
            "halftone config checkout -n shop",
            "halftone config diff checkout -n shop",
        ],
    ),
    (
        "proxies",
        &["halftone proxies", "halftone proxies --class edge -o json"],
    ),
    (
        "hand-over",
        &[
            "halftone hand-over --class default --to halftone/halftone",
            "halftone hand-over --class default --to halftone/second --force",
        ],
    ),
    ("version", &["halftone version", "halftone version -o json"]),
    (
        "check",
        &[
            "halftone check --pre",
            "halftone check --fleet-namespace halftone",
            "halftone check --downgrade 0.1",
        ],
    ),
    (
        "simulate",
        &[
            "halftone simulate release.yaml",
            "halftone simulate release.yaml --rps 50 --fault-at 5m --fault-error-rate 2",
        ],
    ),
    (
        "explain",
        &[
            "halftone explain release.yaml --header 'X-User-Name: lin' --ratio 10",
            "halftone explain checkout -n shop --path /cart --cookie user_name=lin",
        ],
    ),
    (
        "split",
        &["halftone split release.yaml --ratio 5 --identities users.txt --list"],
    ),
    (
        "lint",
        &[
            "halftone lint release.yaml --fleet fleet.yaml",
            "halftone lint - -o json",
        ],
    ),
    (
        "probe",
        &["halftone probe http://10.0.0.1:8080/readyz --timeout 30s"],
    ),
    ("crd", &["halftone crd"]),
    ("completions", &["halftone completions bash"]),
];

/// The same commands, each with its examples.
pub(super) fn with_examples(command: Command) -> Command {
    EXAMPLES
        .into_iter()
        .fold(command, |command, (name, lines)| {
            let text = format!("Examples:\n  {}", lines.join("\n  "));
            command.mut_subcommand(name, |command| command.after_help(text))
        })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Arguments;

    #[test]
    fn each_command_has_examples_and_each_example_parses() {
        let command = Arguments::command();
        for sub in command.get_subcommands() {
            assert!(
                EXAMPLES.iter().any(|(name, _)| *name == sub.get_name()),
                "{} has none",
                sub.get_name()
            );
        }
        for (name, lines) in EXAMPLES {
            for line in lines {
                assert!(line.starts_with(&format!("halftone {name}")), "{line}");
                let (mut words, mut rest) = (Vec::new(), *line);
                while !rest.is_empty() {
                    let quoted = rest
                        .strip_prefix('\'')
                        .and_then(|rest| rest.split_once('\''));
                    let (word, after) =
                        quoted.unwrap_or_else(|| rest.split_once(' ').unwrap_or((rest, "")));
                    words.push(word);
                    rest = after.trim_start();
                }
                let parsed = command.clone().try_get_matches_from(words);
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            }
        }
    }
}
