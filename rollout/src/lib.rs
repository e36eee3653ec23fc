//! Pure rollout: GrayRelease types, plan, `advance`, the judge. No I/O, no clock, no randomness.
