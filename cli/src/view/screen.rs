//! The live view's terminal: a block per release, redrawn in place, as many as fit. Those that want a person come
//! first, then those on their way; what does not fit is counted.

use std::collections::BTreeMap;
use std::io;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::wrap::wrap;
use crate::attention::AttentionLevel;

/// Redraws per second at most.
const REDRAWS: u8 = 4;
/// Where the terminal does not say how many lines it has.
const USUAL_LINES: usize = 24;
/// Where it does not say how many columns.
const USUAL_COLUMNS: usize = 80;

/// A release as it is drawn.
#[derive(Clone)]
pub(super) struct Block {
    /// Its lines.
    pub(super) text: String,
    /// Its phase, by which it is counted where it does not fit.
    pub(super) phase: String,
    /// By which the blocks are put in order.
    pub(super) course: AttentionLevel,
}

/// A terminal with blocks at its end, and lines that move up above them.
pub(super) struct Screen {
    drawn: ProgressBar,
    blocks: BTreeMap<String, Block>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let target = ProgressDrawTarget::stdout_with_hz(REDRAWS);
        let style = ProgressStyle::with_template("{msg}").expect("a template by its letters");
        let drawn = ProgressBar::with_draw_target(None, target).with_style(style);
        Self {
            drawn,
            blocks: BTreeMap::new(),
        }
    }

    /// A line that stays.
    pub(super) fn line(&self, line: &str) {
        self.drawn.println(line);
    }

    /// Puts a block in the place of what it was.
    pub(super) fn put(&mut self, name: &str, block: Block) {
        self.blocks.insert(name.to_owned(), block);
        self.draw();
    }

    /// Takes a block away.
    pub(super) fn remove(&mut self, name: &str) {
        self.blocks.remove(name);
        self.draw();
    }

    /// Leaves what is drawn as it is.
    pub(super) fn end(&self) {
        self.drawn.abandon();
    }

    fn draw(&self) {
        // One line is the cursor's.
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let known = |side: u16, usual| if side == 0 { usual } else { usize::from(side) };
        let lines = size
            .map_or(USUAL_LINES, |size| known(size.ws_row, USUAL_LINES))
            .saturating_sub(1);
        // A line that fills the last column may be followed by an empty one.
        let columns = size
            .map_or(USUAL_COLUMNS, |size| known(size.ws_col, USUAL_COLUMNS))
            .saturating_sub(1);
        self.drawn
            .set_message(compose(&self.blocks, lines, columns));
    }
}

/// As many blocks as fit in so many lines of so many columns, but one at least.
fn compose(blocks: &BTreeMap<String, Block>, lines: usize, columns: usize) -> String {
    let wrapped = |block: &Block| Block {
        text: wrap(&block.text, columns),
        ..block.clone()
    };
    let blocks: Vec<Block> = blocks.values().map(wrapped).collect();
    let height = |block: &Block| block.text.lines().count();
    let all: usize = blocks.iter().map(height).sum();
    // What is left out takes two lines to say.
    let mut room = if all <= lines {
        lines
    } else {
        lines.saturating_sub(2)
    };
    let mut by_course: Vec<&Block> = blocks.iter().collect();
    by_course.sort_by_key(|block| block.course);
    let mut text = String::new();
    let mut rest: BTreeMap<&str, usize> = BTreeMap::new();
    for block in by_course {
        if rest.is_empty() && (text.is_empty() || height(block) <= room) {
            room = room.saturating_sub(height(block));
            text.push_str(&block.text);
        } else {
            *rest.entry(&block.phase).or_default() += 1;
        }
    }
    if !rest.is_empty() {
        text.push_str(&wrap(&format!("\n… and {}", count(&rest)), columns));
    }
    text
}

/// How many there are of each phase: `12 more: 2 Holding, 10 Promoted`.
fn count(phases: &BTreeMap<&str, usize>) -> String {
    let each: Vec<String> = phases
        .iter()
        .map(|(phase, number)| format!("{number} {phase}"))
        .collect();
    format!(
        "{} more: {}",
        phases.values().sum::<usize>(),
        each.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(name: &str, course: AttentionLevel) -> (String, Block) {
        let text = format!("\n{name}\n  gray");
        (
            name.to_owned(),
            Block {
                text,
                phase: format!("{course:?}"),
                course,
            },
        )
    }

    #[test]
    fn releases_that_fit_are_drawn_in_their_order() {
        let blocks = BTreeMap::from([
            block("a", AttentionLevel::Moving),
            block("b", AttentionLevel::Moving),
        ]);
        assert_eq!(compose(&blocks, 6, 80), "\na\n  gray\nb\n  gray");
    }

    #[test]
    fn what_does_not_fit_is_counted_and_who_wants_a_person_comes_first() {
        let course = |number| match number {
            500 => AttentionLevel::WantsYou,
            499 => AttentionLevel::Moving,
            _ => AttentionLevel::Settled,
        };
        let all = (0..1_000).map(|number| block(&format!("r{number:03}"), course(number)));
        let text = compose(&all.collect(), 8, 80);
        assert!(text.starts_with("\nr500\n  gray\nr499\n"), "{text}");
        assert!(text.ends_with("\n… and 998 more: 998 Settled"), "{text}");
        assert!(text.lines().count() <= 8, "{text}");
    }

    #[test]
    fn one_release_is_drawn_in_any_terminal() {
        assert_eq!(
            compose(&BTreeMap::from([block("a", AttentionLevel::Moving)]), 1, 80),
            "\na\n  gray"
        );
    }
}
