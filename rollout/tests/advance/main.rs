//! What a release does, rule by rule, in a scripted world.

mod steps;
mod world;
