//! The memory that searches for regular expressions take, bounded per thread. An automaton is built state by state as
//! values need it, in a cache of its own for each expression; a thread keeps them while they fit together. What finds
//! no room is simulated, which takes a fixed memory and ten times as long, and from time to time the caches begin
//! again with what is searched for then.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use regex_automata::{Input, hybrid::dfa, nfa::thompson::pikevm};

use super::Expression;

/// What one automaton may take, in bytes; beyond it it begins again.
pub(super) const MOST_BYTES_EACH: usize = 256 << 10;
/// What the automata of one thread may take together, in bytes: some hundred of those that people write.
const MOST_BYTES: usize = 8 << 20;
/// An automaton says what it uses. Its vectors double when they are full, so it holds up to so many times as much.
const HELD_OF_USED: usize = 2;
/// Simulated searches before the caches begin again: building them costs a tenth of what these do.
const REST: u32 = 16_384;

thread_local! {
    static CACHES: RefCell<Caches> = RefCell::default();
}

/// Whether the expression is found.
pub(super) fn matches(expression: &Expression, input: &Input<'_>) -> bool {
    CACHES.with_borrow_mut(|caches| caches.matches(expression, input))
}

/// What one thread keeps between searches.
#[derive(Debug, Default)]
struct Caches {
    automata: HashMap<u64, Automaton, BuildHasherDefault<Spread>>,
    /// Sum of [`Automaton::most`].
    bytes: usize,
    /// Simulated searches until there is room again; 0: there is.
    rest: u32,
    simulation: Option<pikevm::Cache>,
}

/// The automaton of one expression as far as it was built.
#[derive(Debug)]
struct Automaton {
    cache: dfa::Cache,
    /// What it used after the last search.
    bytes: usize,
    /// The most that it ever held: one that began again keeps its memory.
    most: usize,
}

impl Caches {
    fn matches(&mut self, expression: &Expression, input: &Input<'_>) -> bool {
        self.by_automaton(expression, input)
            .unwrap_or_else(|| self.by_simulation(expression, input))
    }

    /// None: there is no room for it, or it could not tell.
    fn by_automaton(&mut self, expression: &Expression, input: &Input<'_>) -> Option<bool> {
        let dfa = expression.automaton.as_ref()?;
        if !self.automata.contains_key(&expression.id) && !self.has_room() {
            return None;
        }
        let automaton = self
            .automata
            .entry(expression.id)
            .or_insert_with(|| Automaton::of(dfa));
        let before = automaton.most;
        let found = dfa.try_search_fwd(&mut automaton.cache, input);
        automaton.measure();
        self.bytes += automaton.most - before;
        if self.bytes > MOST_BYTES {
            self.drop_last(expression.id);
        }
        found.ok().map(|found| found.is_some())
    }

    /// Whether another automaton may be begun. Counts the searches that may not.
    fn has_room(&mut self) -> bool {
        if self.rest > 0 {
            self.rest -= 1;
            if self.rest == 0 {
                (self.automata, self.bytes) = (HashMap::default(), 0);
            }
        }
        self.rest == 0
    }

    /// The automaton that went beyond the bound goes, and no other is begun for a while.
    fn drop_last(&mut self, id: u64) {
        self.bytes -= self
            .automata
            .remove(&id)
            .map_or(0, |automaton| automaton.most);
        if self.rest == 0 {
            self.rest = REST;
        }
    }

    fn by_simulation(&mut self, expression: &Expression, input: &Input<'_>) -> bool {
        let simulation = &expression.simulation;
        let cache = self
            .simulation
            .get_or_insert_with(|| simulation.create_cache());
        cache.reset(simulation);
        simulation.is_match(cache, input.clone())
    }
}

impl Automaton {
    fn of(dfa: &dfa::DFA) -> Self {
        Self {
            cache: dfa.create_cache(),
            bytes: 0,
            most: 0,
        }
    }

    fn measure(&mut self) {
        let bytes = self.cache.memory_usage();
        let began_again = bytes < self.bytes;
        let used = if began_again { MOST_BYTES_EACH } else { bytes };
        self.most = self.most.max(HELD_OF_USED * used);
        self.bytes = bytes;
    }
}

/// Spreads consecutive numbers over all bits (Fibonacci hashing); nobody outside chooses them.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Grows by a state with nearly every byte of [`value`].
    fn hungry(n: usize) -> Expression {
        Expression::compile(&format!(
            "[a-m][^{}]{{0,12}}[n-z]{n}$",
            ["a", "b", "c"][n % 3]
        ))
        .expect("compiles")
    }

    fn value(seed: usize) -> Vec<u8> {
        let letter =
            |at: usize| b'a' + (seed.wrapping_mul(31).wrapping_add(at * at * 7 + at) % 26) as u8;
        (0..400).map(letter).collect()
    }

    #[test]
    fn however_many_expressions_are_searched_for_their_automata_stay_within_the_bound() {
        let expressions: Vec<_> = (0..512).map(hungry).collect();
        let mut caches = Caches::default();
        let mut most = 0;
        for seed in 0..8 {
            let value = value(seed);
            for expression in &expressions {
                caches.matches(expression, &Input::new(&value).earliest(true));
                let held: usize = caches
                    .automata
                    .values()
                    .map(|automaton| HELD_OF_USED * automaton.cache.memory_usage())
                    .sum();
                assert!(
                    held <= caches.bytes && caches.bytes <= MOST_BYTES,
                    "{held} of {}",
                    caches.bytes
                );
                most = most.max(held);
            }
        }
        assert!(
            most > MOST_BYTES / 2,
            "only {most} bytes were needed, which shows nothing"
        );
        assert!(caches.rest > 0, "some had to be simulated");
    }

    #[test]
    fn what_found_no_room_finds_it_once_the_caches_begin_again() {
        let (first, second) = (hungry(1), hungry(2));
        let mut caches = Caches::default();
        let value = value(0);
        let input = Input::new(&value).earliest(true);
        caches.matches(&first, &input);
        caches.rest = 3;
        for _ in 0..2 {
            caches.matches(&second, &input);
            assert!(
                caches.automata.contains_key(&first.id)
                    && !caches.automata.contains_key(&second.id)
            );
        }
        caches.matches(&second, &input);
        assert!(
            !caches.automata.contains_key(&first.id) && caches.automata.contains_key(&second.id)
        );
    }

    #[test]
    fn with_and_without_an_automaton_the_same_is_found() {
        for n in 0..60 {
            let (expression, value) = (hungry(n % 10), value(n));
            let input = Input::new(&value).earliest(true);
            let mut caches = Caches::default();
            let simulated = caches.by_simulation(&expression, &input);
            assert_eq!(
                caches
                    .by_automaton(&expression, &input)
                    .unwrap_or(simulated),
                simulated,
                "{n}"
            );
        }
    }
}
