//! One source file as the graph needs it: what it imports, what other paths it names, what it defines. Lexed, not parsed:
//! comments and texts are no code, and what only tests see is left out.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path such as `crate::judge::Verdict`, by its segments.
pub(crate) type Path = Vec<String>;

#[derive(Debug, Default)]
pub(crate) struct SourceFile {
    /// Imports, private ones as well: children see them by `super::`. Beside each the name that it has here.
    pub(crate) uses: Vec<(Path, String)>,
    /// Every other path of two segments or more.
    pub(crate) paths: BTreeSet<Path>,
    /// What is defined at the top.
    pub(crate) items: BTreeSet<String>,
    /// Child modules that have files of their own.
    pub(crate) modules: BTreeSet<String>,
}

const ITEMS: [&str; 9] = [
    "struct",
    "enum",
    "trait",
    "type",
    "const",
    "static",
    "fn",
    "union",
    "macro_rules",
];

impl SourceFile {
    pub(crate) fn read(text: &str) -> Self {
        let mut source = Self::default();
        source.walk(
            &text
                .parse::<TokenStream>()
                .expect("Rust")
                .into_iter()
                .collect::<Vec<_>>(),
            true,
        );
        source
    }

    fn walk(&mut self, tokens: &[TokenTree], at_top: bool) {
        let mut at = 0;
        while at < tokens.len() {
            let rest = &tokens[at..];
            at += if is_for_tests(rest) {
                2 + item(&rest[2..])
            } else if let Some(length) = self.import(rest) {
                length
            } else {
                self.note(tokens, at, at_top)
            };
        }
    }

    /// An import at the start of `rest`, and how many tokens it has.
    fn import(&mut self, rest: &[TokenTree]) -> Option<usize> {
        // `use<'a>` is a bound.
        (is_word(rest.first(), "use") && !is_sign(rest.get(1), '<')).then_some(())?;
        let end = rest.iter().position(|token| is_sign(Some(token), ';'))?;
        self.branch(&rest[1..end], &[]);
        Some(end + 1)
    }

    /// One branch of the tree of an import.
    fn branch(&mut self, tokens: &[TokenTree], prefix: &[String]) {
        let mut path = prefix.to_vec();
        let mut alias = None;
        let mut tokens = tokens.iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) => {
                    let inner: Vec<_> = group.stream().into_iter().collect();
                    let branches = inner.split(|token| is_sign(Some(token), ','));
                    return branches
                        .filter(|branch| !branch.is_empty())
                        .for_each(|branch| self.branch(branch, &path));
                }
                TokenTree::Ident(word) if word == "as" => {
                    alias = tokens.next().map(ToString::to_string)
                }
                TokenTree::Ident(word) if word == "self" && !path.is_empty() => {}
                TokenTree::Ident(word) => path.push(word.to_string()),
                TokenTree::Punct(sign) if sign.as_char() == '*' => path.push("*".to_owned()),
                _ => {}
            }
        }
        let name = alias.or_else(|| path.last().cloned());
        self.uses.extend(name.map(|name| (path, name)));
    }

    /// Takes note of what stands at `at`. Returns how many tokens it has.
    fn note(&mut self, tokens: &[TokenTree], at: usize, at_top: bool) -> usize {
        match &tokens[at] {
            TokenTree::Group(group) => {
                self.walk(&group.stream().into_iter().collect::<Vec<_>>(), false);
                1
            }
            TokenTree::Ident(word) => {
                let word = word.to_string();
                let name = tokens[at + 1..]
                    .iter()
                    .take(2)
                    .find_map(|token| match token {
                        TokenTree::Ident(name) => Some(name.to_string()),
                        _ => None,
                    });
                if word == "mod" && is_sign(tokens.get(at + 2), ';') {
                    self.modules.extend(name);
                } else if at_top && ITEMS.contains(&&*word) {
                    self.items.extend(name);
                }
                self.path(tokens, at)
            }
            _ => 1,
        }
    }

    /// A path that begins at `at`, if one does.
    fn path(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let mut path = vec![tokens[at].to_string()];
        let mut end = at + 1;
        while is_sign(tokens.get(end), ':') && is_sign(tokens.get(end + 1), ':') {
            let Some(TokenTree::Ident(word)) = tokens.get(end + 2) else {
                break;
            };
            path.push(word.to_string());
            end += 3;
        }
        let is_member = at > 0 && is_sign(tokens.get(at - 1), '.');
        if path.len() > 1 && !is_member {
            self.paths.insert(path);
        }
        end - at
    }
}

fn is_word(token: Option<&TokenTree>, wanted: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(word)) if word == wanted)
}

fn is_sign(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(sign)) if sign.as_char() == wanted)
}

/// `#[cfg(test)]`, or with `all(test, …)`.
fn is_for_tests(tokens: &[TokenTree]) -> bool {
    let Some(TokenTree::Group(group)) = tokens.get(1).filter(|_| is_sign(tokens.first(), '#'))
    else {
        return false;
    };
    let text = group.stream().to_string().replace(' ', "");
    text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

/// How many tokens the item has that stands at the start, its attributes included.
fn item(tokens: &[TokenTree]) -> usize {
    let is_import = tokens
        .iter()
        .take(3)
        .any(|token| is_word(Some(token), "use"));
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace && !is_import,
        _ => is_sign(Some(token), ';'),
    };
    tokens
        .iter()
        .position(ends)
        .map_or(tokens.len(), |end| end + 1)
}
