//! File descriptors: a proxy needs two per request under way, and the usual soft limit of 1024 is made for
//! programs that use `select`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many descriptors this process may have once [`raise`] was called: the hard limit.
pub fn limit() -> usize {
    let limits = getrlimit(Resource::Nofile);
    let most = limits.maximum.or(limits.current);
    most.map_or(usize::MAX, |most| {
        usize::try_from(most).unwrap_or(usize::MAX)
    })
}

/// Raises the soft limit to the hard one.
///
/// # Errors
/// The kernel refuses, which sandboxes may make it do; the proxy then works with fewer connections.
pub fn raise() -> std::io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?)
}
