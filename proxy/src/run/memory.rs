//! How much memory this process may take, as its cgroup says: a proxy that accepts more than fits is killed with all
//! its connections.

use std::fs;
use std::path::{Path, PathBuf};

/// Where cgroups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// Version 1 says "no limit" by a number that no machine has.
const UNLIMITED: u64 = 1 << 60;

/// The least limit of this process's cgroup and those above it, in bytes; none without a limit, or where it cannot be
/// read.
pub fn limit() -> Option<u64> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_below(Path::new(ROOT), &cgroups)
}

/// `cgroups`: the lines of `/proc/self/cgroup`, each `ID:CONTROLLERS:PATH`; version 2 has no controllers (cgroups(7)).
fn limit_below(root: &Path, cgroups: &str) -> Option<u64> {
    let lines = cgroups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (mount, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        least(&mount, path, file)
    });
    lines.min()
}

/// The least of what a cgroup and those above it say. In a container the path may be one of the host's, which is not
/// there: then the mount itself is the container's.
fn least(mount: &Path, path: &str, file: &str) -> Option<u64> {
    let own = mount.join(path.trim_start_matches('/'));
    let within = own.ancestors().take_while(|dir| dir.starts_with(mount));
    within
        .map(|dir: &Path| dir.join(file))
        .filter_map(|file: PathBuf| read(&file))
        .min()
}

fn read(file: &Path) -> Option<u64> {
    // Version 2 says "max" for no limit.
    fs::read_to_string(file)
        .ok()?
        .trim()
        .parse()
        .ok()
        .filter(|bytes| *bytes < UNLIMITED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        root
    }

    #[test]
    fn the_least_limit_on_the_way_to_the_root_counts() {
        for (files, cgroups, limit) in [
            (
                &[("memory.max", "268435456\n")][..],
                "0::/\n",
                Some(256 << 20),
            ),
            (&[("memory.max", "max\n")], "0::/\n", None),
            (
                &[
                    ("kubepods/memory.max", "1000"),
                    ("kubepods/pod/memory.max", "max"),
                ],
                "0::/kubepods/pod",
                Some(1000),
            ),
            (
                &[("a/memory.max", "1000"), ("a/b/memory.max", "700")],
                "0::/a/b",
                Some(700),
            ),
            (&[("memory.max", "5000")], "0::/../../not/here", Some(5000)),
            (&[], "0::/", None),
            (
                &[
                    ("memory/docker/x/memory.limit_in_bytes", "4096"),
                    ("memory/memory.limit_in_bytes", "9223372036854771712"),
                ],
                "11:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n",
                Some(4096),
            ),
            (
                &[("memory/memory.limit_in_bytes", "9223372036854771712")],
                "4:memory:/",
                None,
            ),
            (
                &[("memory/memory.limit_in_bytes", "8192")],
                "4:memory:/of/the/host\n0::/",
                Some(8192),
            ),
            (&[("memory.max", "nonsense")], "nonsense\n0::/", None),
        ] {
            assert_eq!(
                limit_below(tree(files).path(), cgroups),
                limit,
                "{cgroups} in {files:?}"
            );
        }
    }
}
