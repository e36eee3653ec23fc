//! From settings to threads: the order of start and drain.

pub mod descriptors;
