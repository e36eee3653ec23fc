//! A hash table from hosts to the paths claimed below them, in shards: a set of routes shares with the one before every
//! shard in which no host changed.

use std::sync::Arc;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use super::path_claims::PathClaims;

/// So many that a shard of a fleet with ten thousand hosts has some forty, and copying one is cheap.
const SHARDS: usize = 256;

/// Hosts and what is claimed below each.
#[derive(Debug, Clone)]
pub(super) struct HostTable {
    shards: Box<[Arc<HashTable<HostClaims>>; SHARDS]>,
    hosts: usize,
}

#[derive(Debug, Clone)]
struct HostClaims {
    host: Box<str>,
    paths: PathClaims,
}

impl Default for HostTable {
    fn default() -> Self {
        let empty = Arc::new(HashTable::new());
        Self {
            shards: Box::new(std::array::from_fn(|_| Arc::clone(&empty))),
            hosts: 0,
        }
    }
}

/// Requests choose what is looked up, but never what is stored, so that a hash without a secret is enough.
fn hash(host: &str) -> u64 {
    xxh3_64(host.as_bytes())
}

/// From bits that the table within a shard does not go by: it takes the lowest and the highest.
const fn shard(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

impl HostTable {
    pub(super) fn is_empty(&self) -> bool {
        self.hosts == 0
    }

    /// What is claimed below a host, if anything is.
    pub(super) fn get(&self, host: &str) -> Option<&PathClaims> {
        let hash = hash(host);
        let found = self.shards[shard(hash)].find(hash, |entry| *entry.host == *host)?;
        Some(&found.paths)
    }

    /// Changes what is claimed below a host; a host with no claim left is forgotten.
    pub(super) fn change<T>(&mut self, host: &str, by: impl FnOnce(&mut PathClaims) -> T) -> T {
        let hash = hash(host);
        let shard = Arc::make_mut(&mut self.shards[shard(hash)]);
        let same = |entry: &HostClaims| *entry.host == *host;
        let rehash = |entry: &HostClaims| self::hash(&entry.host);
        let mut entry = shard.entry(hash, same, rehash).or_insert_with(|| {
            self.hosts += 1;
            HostClaims {
                host: host.into(),
                paths: PathClaims::default(),
            }
        });
        let result = by(&mut entry.get_mut().paths);
        if entry.get().paths.is_empty() {
            entry.remove();
            self.hosts -= 1;
        }
        result
    }
}
