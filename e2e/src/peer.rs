//! The programs that run inside the cluster; `main.rs` chooses one. Both serve a control page on a second port, so that
//! a backend that hangs can still be told to stop hanging, and so that no proxied request can reach the controls.

pub mod backend;
pub mod load;
mod serve;
pub mod tally;
