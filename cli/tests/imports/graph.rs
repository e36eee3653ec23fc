//! Which file of a crate needs which: imports and paths, led to the file that defines what they name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;

use crate::source::{Path, SourceFile};

/// The files of a crate by their module paths; the empty one is `lib.rs`, or `main.rs` where there is no library.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    files: BTreeMap<Path, SourceFile>,
}

/// So many re-exports one after the other are followed.
const DEEPEST: usize = 12;

impl Graph {
    /// The crate whose sources are in this folder.
    pub(crate) fn load(folder: &FilePath) -> Self {
        let root = ["lib.rs", "main.rs"]
            .map(|name| folder.join(name))
            .into_iter()
            .find(|root| root.exists());
        let mut graph = Self::default();
        graph.add(Vec::new(), &root.expect("a root"), folder);
        graph
    }

    /// A crate from texts, by module path.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let path = |name: &str| {
            name.split('/')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        };
        Self {
            files: files
                .iter()
                .map(|(name, text)| (path(name), SourceFile::read(text)))
                .collect(),
        }
    }

    fn add(&mut self, module: Path, file: &FilePath, children: &FilePath) {
        let source = SourceFile::read(&std::fs::read_to_string(file).unwrap());
        for name in &source.modules {
            let child = children.join(format!("{name}.rs"));
            if child.exists() {
                let path = module.iter().chain([name]).cloned().collect();
                self.add(path, &child, &children.join(name));
            }
        }
        self.files.insert(module, source);
    }

    /// From each file to those that it needs, with the names for which it does. The root only re-exports.
    pub(crate) fn edges(&self) -> BTreeMap<Path, BTreeMap<Path, BTreeSet<String>>> {
        let mut edges: BTreeMap<Path, BTreeMap<Path, BTreeSet<String>>> = BTreeMap::new();
        for (from, source) in self.files.iter().filter(|(from, _)| !from.is_empty()) {
            for path in source
                .uses
                .iter()
                .map(|(path, _)| path)
                .chain(&source.paths)
            {
                let to = self
                    .resolve(from, path, 0)
                    .filter(|to| to != from && !to.is_empty());
                if let Some(to) = to {
                    let names = edges
                        .entry(from.clone())
                        .or_default()
                        .entry(to)
                        .or_default();
                    names.extend(path.last().cloned());
                }
            }
        }
        edges
    }

    /// The file that defines what `path` names in the file `at`; none if it is another crate's.
    fn resolve(&self, at: &Path, path: &[String], depth: usize) -> Option<Path> {
        let (first, rest) = path.split_first().filter(|_| depth < DEEPEST)?;
        match first.as_str() {
            "crate" => self.descend(Vec::new(), rest, depth),
            "self" => self.descend(at.clone(), rest, depth),
            "super" => {
                let up = 1 + rest.iter().take_while(|word| *word == "super").count();
                let parent = at.get(..at.len().checked_sub(up)?)?.to_vec();
                self.descend(parent, &rest[up - 1..], depth)
            }
            _ => {
                let child: Path = at.iter().chain([first]).cloned().collect();
                if self.files.contains_key(&child) {
                    return self.descend(child, rest, depth);
                }
                self.imported(at, first, rest, depth)
            }
        }
    }

    /// Follows the import by which the file `at` knows `name`.
    fn imported(&self, at: &Path, name: &String, rest: &[String], depth: usize) -> Option<Path> {
        let uses = &self.files.get(at)?.uses;
        let is_itself = |path: &[String]| path.len() == 1 && path[0] == *name;
        let (path, _) = uses
            .iter()
            .find(|(path, alias)| alias == name && !is_itself(path))?;
        self.resolve(at, &[path, rest].concat(), depth + 1)
    }

    /// Goes down from the module `at` along `path`.
    fn descend(&self, mut at: Path, path: &[String], depth: usize) -> Option<Path> {
        for (index, name) in path.iter().enumerate() {
            let child: Path = at.iter().chain([name]).cloned().collect();
            if self.files.contains_key(&child) {
                at = child;
                continue;
            }
            let source = self.files.get(&at)?;
            if source.items.contains(name) {
                return Some(at);
            }
            let rest = &path[index + 1..];
            return self
                .imported(&at, name, rest, depth)
                .or_else(|| self.through_globs(&at, &path[index..], depth))
                .or(Some(at));
        }
        Some(at)
    }

    fn through_globs(&self, at: &Path, path: &[String], depth: usize) -> Option<Path> {
        let globs = self
            .files
            .get(at)?
            .uses
            .iter()
            .filter(|(_, alias)| alias == "*");
        globs
            .map(|(glob, _)| [&glob[..glob.len() - 1], path].concat())
            .find_map(|path| {
                let to = self.resolve(at, &path, depth + 1)?;
                self.files[&to].items.contains(path.last()?).then_some(to)
            })
    }
}

/// Files that need each other, directly or through others, where they are more than a parent and its children.
pub(crate) fn circles(
    edges: &BTreeMap<Path, BTreeMap<Path, BTreeSet<String>>>,
) -> Vec<BTreeSet<Path>> {
    let reach = |from: &Path| {
        let (mut found, mut todo) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(at) = todo.pop() {
            todo.extend(
                edges
                    .get(&at)
                    .into_iter()
                    .flat_map(BTreeMap::keys)
                    .filter(|to| found.insert((*to).clone()))
                    .cloned(),
            );
        }
        found
    };
    let reached: BTreeMap<&Path, BTreeSet<Path>> =
        edges.keys().map(|from| (from, reach(from))).collect();
    let circle = |file: &Path| -> BTreeSet<Path> {
        let back = |to: &&Path| {
            reached
                .get(*to)
                .is_some_and(|reached| reached.contains(file))
        };
        reached[file].iter().filter(back).cloned().collect()
    };
    let found: BTreeSet<BTreeSet<Path>> = edges
        .keys()
        .map(circle)
        .filter(|circle| circle.len() > 1)
        .collect();
    found
        .into_iter()
        .filter(|circle| !circle.iter().any(|parent| is_family(parent, circle)))
        .collect()
}

fn is_family(parent: &Path, circle: &BTreeSet<Path>) -> bool {
    circle
        .iter()
        .all(|file| file == parent || (file.len() == parent.len() + 1 && file.starts_with(parent)))
}
