//! Tests of Halftone on a real cluster. `peer` holds the two programs that run inside it, a backend that can be told to
//! fail and a client that counts what users see; `wire` holds the documents they are told and tell; `scene` is what a
//! test writes against: a namespace of its own, manifests, waiting, and everything that is needed to find out why it
//! failed. `tests/` has the tests, which `make e2e` runs.

pub mod peer;
pub mod scene;
pub mod wire;
