//! The judge, from outside: what it promises and how quick it is, on simulated releases; what passes; what it
//! says. The simulations print the figures of `docs/judging.md`
//! (`cargo test -p halftone-rollout --test judge -- --nocapture --test-threads 1`).

mod both_arms;
mod delay;
mod formula;
mod passing;
mod promise;
mod properties;
mod traffic;
mod words;
