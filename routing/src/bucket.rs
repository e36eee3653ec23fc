//! From identity to bucket: a user's fixed place in [0, 1 000 000), computed and never stored.
//! `decide` compares it with the ratio; `halftone split` does the same for a list.

use serde::Serialize;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::{document::units::Ratio, sketch::UserHash};

/// What keeps releases apart: two with different salts do not share their first users. By default the release id;
/// a salt of the user's own gives the same users to several services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Salt(u64);

impl Salt {
    /// The salt with this text.
    pub fn new(text: &str) -> Self {
        Self(xxh3_64(text.as_bytes()))
    }

    /// The salt itself: 64 evenly distributed bits.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// An identity's place under this salt: XXH3-64 scaled to a million places by multiplication, which spreads
    /// the remainder evenly (Lemire, "Fast random integer generation in an interval", 2019).
    #[inline]
    pub fn bucket(self, identity: &[u8]) -> Bucket {
        Bucket::of(self.user(identity))
    }

    /// The identity's hash under this salt, from which its place follows.
    #[inline]
    pub fn user(self, identity: &[u8]) -> UserHash {
        UserHash(xxh3_64_with_seed(identity, self.0))
    }
}

/// 64 evenly distributed bits to 0..1 000 000.
const fn scale(bits: u64) -> u32 {
    ((bits as u128 * 1_000_000) >> 64) as u32
}

/// A user's place, 0..1 000 000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Bucket(u32);

impl Bucket {
    /// The place of a user.
    #[inline]
    pub const fn of(user: UserHash) -> Self {
        Self(scale(user.0))
    }

    /// The place.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The place of a request that chance decides, from evenly distributed bits.
    pub const fn by_chance(bits: u128) -> Self {
        Self(scale(bits as u64))
    }

    /// Whether this place is gray at a ratio. Half-open: nobody at 0, everybody at 100 %; raising the ratio only
    /// adds users, lowering it removes the last added first.
    #[inline]
    pub const fn is_gray(self, ratio: Ratio) -> bool {
        self.0 < ratio.millionths()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATIOS: [u32; 6] = [100, 10_000, 100_000, 333_000, 500_000, 990_000];
    const USERS: u32 = 1_000_000;

    /// Buckets are the contract between versions of every part: a change moves every user of every release.
    #[test]
    fn buckets_never_change() {
        let salt = Salt::new("3f2a9c0d1e4b5a67");
        let places = ["", "lin", "wei", "user-1", "陈", "a@example.com"]
            .map(|identity| salt.bucket(identity.as_bytes()).get());
        assert_eq!(places, GOLDEN);
    }

    /// Computed by the reference implementation's Python binding.
    const GOLDEN: [u32; 6] = [415_315, 301_985, 105_514, 573_662, 131_840, 568_263];

    type Name = fn(u32) -> String;

    #[test]
    fn the_split_of_a_million_users_is_as_even_as_a_fair_one() {
        let kinds: [(&str, Name); 4] = [
            ("sequential numbers", |n| n.to_string()),
            ("UUIDs", |n| {
                format!(
                    "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
                    n.wrapping_mul(2_654_435_761),
                    n & 0xffff,
                    n >> 20,
                    n & 0xfff,
                    u64::from(n) * 6_364_136_223
                )
            }),
            ("e-mail addresses", |n| format!("user.{n}@example.com")),
            ("phone numbers", |n| format!("+86139{n:08}")),
        ];
        for (kind, name) in kinds {
            for salt in ["0123456789abcdef", "3f2a9c0d1e4b5a67"].map(Salt::new) {
                let mut gray = [0_u32; RATIOS.len()];
                for user in 0..USERS {
                    let bucket = salt.bucket(name(user).as_bytes());
                    for (count, ratio) in gray.iter_mut().zip(RATIOS) {
                        *count += u32::from(bucket.is_gray(Ratio::from_millionths(ratio).unwrap()));
                    }
                }
                for (count, ratio) in gray.into_iter().zip(RATIOS) {
                    let (share, ratio) =
                        (f64::from(count) / f64::from(USERS), f64::from(ratio) / 1e6);
                    let bound = 4.0 * (ratio * (1.0 - ratio) / f64::from(USERS)).sqrt();
                    assert!(
                        (share - ratio).abs() <= bound,
                        "{kind}: {share} for {ratio}, allowed {bound}"
                    );
                }
            }
        }
    }

    #[test]
    fn two_releases_do_not_share_their_first_users() {
        let (one, other) = (Salt::new("0123456789abcdef"), Salt::new("0123456789abcdee"));
        let ratio = Ratio::from_millionths(100_000).unwrap();
        let both = (0..USERS)
            .filter(|user| {
                let identity = user.to_string();
                one.bucket(identity.as_bytes()).is_gray(ratio)
                    && other.bucket(identity.as_bytes()).is_gray(ratio)
            })
            .count();
        let deviation = (f64::from(USERS) * 0.01 * 0.99).sqrt();
        assert!(
            (both as f64 - f64::from(USERS) * 0.01).abs() <= 4.0 * deviation,
            "{both} users are in both"
        );
    }

    proptest! {
        #[test]
        fn raising_the_ratio_only_ever_adds_users(identity: Vec<u8>, salt: String, low in 0_u32..=1_000_000, high in 0_u32..=1_000_000) {
            let (low, high) = (low.min(high), low.max(high));
            let bucket = Salt::new(&salt).bucket(&identity);
            let gray = |millionths| bucket.is_gray(Ratio::from_millionths(millionths).unwrap());
            prop_assert!(!gray(low) || gray(high));
            prop_assert!(!gray(0) && gray(1_000_000));
        }
    }
}
