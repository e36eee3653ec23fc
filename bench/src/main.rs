//! What Halftone is compared with, and how.

fn main() {}
