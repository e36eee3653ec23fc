//! Completion of `kubectl halftone`: kubectl runs a file named `kubectl_complete-halftone` with the words so far, and
//! reads one candidate a line, with what it means after a tab, and a directive at the end. `halftone completions` prints
//! what shells need for `halftone` itself.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Arg, ArgAction, Command, FromArgMatches};
use halftone_api::GrayRelease;
use kube::ResourceExt;

use crate::args::ClusterArguments;
use crate::cluster::{self, ClusterClient, NamespaceScope};
use crate::summary::name_of;

/// No file names beside the candidates, in the words of kubectl's own completion.
const NO_FILES: &str = ":4\n";
/// File names, as the shell completes them.
const FILES: &str = ":0\n";
/// Who presses a key does not wait long.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// What completes the last of these words.
pub(crate) fn complete(command: &Command, words: &[String]) -> String {
    let (last, before) = words
        .split_last()
        .map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let place = CompletionContext::find(command, before);
    let mut told = String::new();
    let mut candidate = |name: &str, meaning: &str| {
        if name.starts_with(last) {
            // A String takes everything.
            let _ = writeln!(told, "{name}\t{meaning}");
        }
    };
    if let Some(option) = place.awaits {
        let values = option.get_possible_values();
        values
            .iter()
            .for_each(|value| candidate(value.get_name(), &help(value.get_help())));
        let files = if option.get_value_hint() == clap::ValueHint::FilePath {
            FILES
        } else {
            NO_FILES
        };
        return told + files;
    }
    if last.starts_with('-') {
        for option in place
            .command
            .get_arguments()
            .filter(|option| !option.is_hide_set())
        {
            if let Some(long) = option.get_long() {
                candidate(&format!("--{long}"), &help(option.get_help()));
            }
        }
        return told + NO_FILES;
    }
    for sub in place
        .command
        .get_subcommands()
        .filter(|_| place.positionals == 0)
    {
        candidate(sub.get_name(), &help(sub.get_about()));
    }
    let Some(wanted) = place
        .command
        .get_positionals()
        .next()
        .filter(|_| place.positionals == 0)
    else {
        return told + NO_FILES;
    };
    if place
        .command
        .get_arguments()
        .any(|option| option.get_long() == Some("kubeconfig"))
    {
        releases(command, words)
            .iter()
            .for_each(|(name, phase)| candidate(name, phase));
    }
    told + if wanted.get_value_hint() == clap::ValueHint::FilePath {
        FILES
    } else {
        NO_FILES
    }
}

fn help(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

/// Where the words have led to.
struct CompletionContext<'a> {
    command: &'a Command,
    /// Words that are no options and no commands.
    positionals: usize,
    /// The option whose value comes next.
    awaits: Option<&'a Arg>,
}

impl<'a> CompletionContext<'a> {
    fn find(command: &'a Command, words: &[String]) -> Self {
        let mut place = Self {
            command,
            positionals: 0,
            awaits: None,
        };
        for word in words {
            if place.awaits.take().is_some() {
                continue;
            }
            if word.starts_with('-') {
                place.awaits = place.option(word);
            } else if let Some(sub) = place
                .command
                .find_subcommand(word)
                .filter(|_| place.positionals == 0)
            {
                place.command = sub;
            } else {
                place.positionals += 1;
            }
        }
        place
    }

    /// The option of this word, if its value is the next.
    fn option(&self, word: &str) -> Option<&'a Arg> {
        let is = |option: &&Arg| {
            let short = option
                .get_short()
                .is_some_and(|short| *word == format!("-{short}"));
            short
                || option
                    .get_long()
                    .is_some_and(|long| *word == format!("--{long}"))
        };
        let takes =
            |option: &&Arg| matches!(option.get_action(), ArgAction::Set | ArgAction::Append);
        self.command.get_arguments().find(is).filter(takes)
    }
}

/// The releases that the words so far could mean, with their phases. Without an answer there are none: completion is no
/// place for errors.
fn releases(command: &Command, words: &[String]) -> Vec<(String, String)> {
    let all = words
        .iter()
        .any(|word| word == "-A" || word == "--all-namespaces");
    let words = std::iter::once("halftone".to_owned()).chain(words.iter().cloned());
    let Ok(matches) = command
        .clone()
        .ignore_errors(true)
        .try_get_matches_from(words)
    else {
        return Vec::new();
    };
    let mut matches = &matches;
    while let Some((_, deeper)) = matches.subcommand() {
        matches = deeper;
    }
    let asked = ClusterArguments::from_arg_matches(matches).unwrap_or_default();
    let listed = cluster::block_on(async {
        let ask = async {
            let cluster = ClusterClient::connect(&asked, false).await?;
            let scope = if all {
                NamespaceScope::All
            } else {
                NamespaceScope::Namespace(cluster.namespace())
            };
            cluster.releases(scope, None).await
        };
        Ok(tokio::time::timeout(ANSWERED_WITHIN, ask).await)
    });
    let Ok(Ok(Ok(listing))) = listed else {
        return Vec::new();
    };
    let named = |release: &GrayRelease| {
        let name = if all {
            name_of(release)
        } else {
            release.name_any()
        };
        (
            name,
            release
                .status
                .as_ref()
                .map_or_else(String::new, crate::summary::phase),
        )
    };
    listing.releases.iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        complete(&crate::args::command(), &words)
    }

    #[test]
    fn commands_and_options_are_completed_with_what_they_mean() {
        let told = completed(&["pr"]);
        assert!(told.starts_with("promote\tGo to the target now"), "{told}");
        assert!(
            told.contains("\nproxies\t") && told.ends_with(":4\n") && !told.contains("pause"),
            "{told}"
        );
        assert!(completed(&["watch", "site", "--ti"]).starts_with("--timeout\t"));
        assert!(completed(&["config", "d"]).starts_with("diff\t"));
        assert!(completed(&["--color", "a"]).starts_with("auto\tColour on a terminal only"));
    }

    #[test]
    fn the_value_of_an_option_is_no_command() {
        assert_eq!(completed(&["status", "-n", "ge"]), ":4\n");
        assert_eq!(completed(&["status", "--kubeconfig", ""]), ":0\n");
        assert_eq!(
            completed(&["lint", "rel"]),
            ":0\n",
            "files are for the shell"
        );
    }
}
