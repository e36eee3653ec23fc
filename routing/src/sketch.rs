//! How many different users something happened to, in 256 bytes at most and without a name: a HyperLogLog sketch
//! (Flajolet, Fusy, Gandouet and Meunier, 2007). Sketches of proxies and stages merge into that of all of them, in any
//! order and as often as one likes; nobody can be read out of one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Registers of a sketch: a standard error of 6.5 %.
pub const REGISTERS: usize = 256;
/// The bits of a hash that are left for a register's rank.
const RANK_BITS: u8 = 56;
/// The highest rank.
const HIGHEST: u8 = RANK_BITS + 1;

/// A user as a sketch sees them: 64 evenly distributed bits, the same on every proxy for the whole release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UserHash(pub(crate) u64);

impl UserHash {
    /// The user with this hash.
    pub const fn from_hash(hash: u64) -> Self {
        Self(hash)
    }

    /// Which register they touch, and to which rank it rises at least. The low bits serve: a bucket is the high ones,
    /// so those of gray's users are all small.
    pub const fn register(self) -> (u8, u8) {
        let rest = (self.0 >> 8) | (1 << RANK_BITS);
        (self.0 as u8, rest.trailing_zeros() as u8 + 1)
    }
}

/// A set of users of which only the size can be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u8, u8)>", into = "Vec<(u8, u8)>")]
pub struct UserSketch(BTreeMap<u8, u8>);

impl UserSketch {
    /// Adds a user.
    pub fn add(&mut self, user: UserHash) {
        let (register, rank) = user.register();
        self.raise(register, rank);
    }

    /// Raises a register to a rank, 1 to 57, unless it is there already.
    pub fn raise(&mut self, register: u8, rank: u8) {
        if rank > 0 {
            let highest = self.0.entry(register).or_default();
            *highest = (*highest).max(rank.min(HIGHEST));
        }
    }

    /// Adds everybody of another set.
    pub fn merge(&mut self, other: &Self) {
        other
            .0
            .iter()
            .for_each(|(&register, &rank)| self.raise(register, rank));
    }

    /// What an earlier reading of the same sketch lacks: merged with that, it is this one.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let risen = self
            .0
            .iter()
            .filter(|(register, rank)| earlier.0.get(register).is_none_or(|was| was < rank));
        Self(risen.map(|(&register, &rank)| (register, rank)).collect())
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// About how many users are in it, to within 6.5 % two times out of three: the improved estimator of Ertl, "New
    /// cardinality estimation algorithms for HyperLogLog sketches" (2017), algorithm 6, which needs no correction for
    /// small or large sets.
    pub fn estimate(&self) -> u64 {
        let registers = REGISTERS as f64;
        let mut with_rank = [0_u32; HIGHEST as usize + 1];
        self.0
            .values()
            .for_each(|&rank| with_rank[usize::from(rank)] += 1);
        let share = |count: u32| f64::from(count) / registers;
        let mut sum = registers * tau(1.0 - share(with_rank[usize::from(HIGHEST)]));
        for rank in (1..=usize::from(RANK_BITS)).rev() {
            sum = 0.5 * (sum + f64::from(with_rank[rank]));
        }
        sum += registers * sigma(1.0 - self.0.len() as f64 / registers);
        (registers * registers / (2.0 * std::f64::consts::LN_2) / sum).round() as u64
    }
}

/// The part of registers that nobody has touched. Infinite where nobody has touched any.
fn sigma(share: f64) -> f64 {
    let (mut power, mut weight, mut sum) = (share, 1.0, share);
    if share >= 1.0 {
        return f64::INFINITY;
    }
    loop {
        power *= power;
        let before = sum;
        sum += power * weight;
        weight += weight;
        if sum <= before {
            return sum;
        }
    }
}

/// The part of registers that have the highest rank.
fn tau(share: f64) -> f64 {
    if share <= 0.0 || share >= 1.0 {
        return 0.0;
    }
    let (mut root, mut weight, mut sum) = (share, 1.0, 1.0 - share);
    loop {
        root = root.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - root).powi(2) * weight;
        if sum >= before {
            return sum / 3.0;
        }
    }
}

impl TryFrom<Vec<(u8, u8)>> for UserSketch {
    type Error = String;

    fn try_from(registers: Vec<(u8, u8)>) -> Result<Self, String> {
        let mut users = Self::default();
        for (register, rank) in registers {
            if !(1..=HIGHEST).contains(&rank) || users.0.insert(register, rank).is_some() {
                return Err(format!(
                    "register {register} is listed twice, or its rank {rank} is not 1 to {HIGHEST}"
                ));
            }
        }
        Ok(users)
    }
}

impl From<UserSketch> for Vec<(u8, u8)> {
    fn from(users: UserSketch) -> Self {
        users.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{bucket::Salt, document::units::Ratio};

    fn users(numbers: impl IntoIterator<Item = u64>) -> UserSketch {
        let salt = Salt::new("0123456789abcdef");
        let mut users = UserSketch::default();
        numbers
            .into_iter()
            .for_each(|number| users.add(salt.user(number.to_string().as_bytes())));
        users
    }

    #[test]
    fn the_estimate_is_near_for_few_and_for_many() {
        assert_eq!(users([]).estimate(), 0);
        assert_eq!(users([7, 7, 7]).estimate(), 1);
        for count in [3, 10, 30, 100, 300, 1_000, 10_000, 100_000, 1_000_000] {
            let estimate = users(0..count).estimate() as f64;
            let off = (estimate / count as f64 - 1.0).abs();
            assert!(off < 0.2, "{count} users are estimated as {estimate}");
        }
    }

    /// Gray's users are those whose hash is small.
    #[test]
    fn gray_s_users_are_counted_as_well_as_any() {
        let (salt, ratio) = (
            Salt::new("3f2a9c0d1e4b5a67"),
            Ratio::from_millionths(10_000).unwrap(),
        );
        let mut gray = UserSketch::default();
        let mut count = 0_u32;
        for number in 0..200_000_u32 {
            let identity = number.to_string();
            if salt.bucket(identity.as_bytes()).is_gray(ratio) {
                gray.add(salt.user(identity.as_bytes()));
                count += 1;
            }
        }
        let off = (gray.estimate() as f64 / f64::from(count) - 1.0).abs();
        assert!(
            off < 0.2,
            "{count} users are estimated as {}",
            gray.estimate()
        );
    }

    #[test]
    fn a_sketch_that_is_none_is_refused() {
        for wrong in ["[[0,0]]", "[[0,58]]", "[[0,1],[0,2]]", "[[256,1]]", "[[0]]"] {
            assert!(
                serde_json::from_str::<UserSketch>(wrong).is_err(),
                "{wrong}"
            );
        }
    }

    proptest! {
        #[test]
        fn merging_is_the_sketch_of_all(a in prop::collection::vec(0_u64..5000, 0..300), b in prop::collection::vec(0_u64..5000, 0..300)) {
            let (one, other, all) = (users(a.clone()), users(b.clone()), users(a.into_iter().chain(b)));
            let mut merged = one.clone();
            merged.merge(&other);
            prop_assert_eq!(&merged, &all);
            merged.merge(&one);
            prop_assert_eq!(&merged, &all, "as often as one likes");
            let mut later = one.clone();
            later.merge(&all.since(&one));
            prop_assert_eq!(&later, &all);
            prop_assert!(all.since(&all).is_empty());
            let read: UserSketch = serde_json::from_str(&serde_json::to_string(&all).unwrap()).unwrap();
            prop_assert_eq!(read, all);
        }
    }
}
