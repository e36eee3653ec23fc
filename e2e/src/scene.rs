//! What a test writes against.
