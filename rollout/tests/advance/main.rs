//! What a release does, rule by rule, in a scripted world.

// The world itself is outside of test functions, and a failed assumption should end the test where it happened.
#![allow(clippy::unwrap_used, clippy::panic)]

mod audit;
mod commands;
mod conditions;
mod documents;
mod edits;
mod failures;
mod features;
mod fleet;
mod hand_overs;
mod past;
mod recorded;
mod restarts;
mod rounds;
mod scripts;
mod served;
mod steps;
mod users;
mod words;
mod world;
