//! `halftone`: the command line.

fn main() {}
