//! Pure routing: documents, compiled routes, `decide`, traffic reports. No I/O, no clock, no randomness.
