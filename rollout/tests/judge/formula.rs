//! The method as it is written in papers, in logarithms, without any limit on what one batch may say: an oracle
//! for the judge where that limit does not matter, and the contrast where it does.

/// Evidence against one absolute limit.
pub(crate) struct Formula {
    limit: f64,
    alternatives: Vec<f64>,
    ln_worth: Vec<f64>,
    batches: f64,
}

impl Formula {
    pub(crate) fn new(limit: f64) -> Self {
        let times = [1.2, 1.5, 2.0, 4.0, 8.0, 16.0, 32.0].map(|times: f64| times * limit);
        let alternatives = times.into_iter().chain([(1.5 * limit).max(0.5)]);
        let alternatives = alternatives
            .map(|alternative| alternative.min((1.0 + limit) / 2.0))
            .collect();
        Self {
            limit,
            alternatives,
            ln_worth: vec![f64::NEG_INFINITY; 8],
            batches: 0.0,
        }
    }

    /// Takes a batch; the logarithm of the e-value.
    pub(crate) fn add(&mut self, bad: u64, all: u64) -> f64 {
        self.batches += 1.0;
        let ln_weight = -(self.batches * (self.batches + 1.0)).ln();
        for (ln_worth, alternative) in self.ln_worth.iter_mut().zip(&self.alternatives) {
            let gain = bad as f64 * (alternative / self.limit).ln()
                + (all - bad) as f64 * ((1.0 - alternative) / (1.0 - self.limit)).ln();
            *ln_worth = ln_sum(&[*ln_worth, ln_weight]) + gain;
        }
        ln_sum(&self.ln_worth) - 8_f64.ln()
    }
}

fn ln_sum(logarithms: &[f64]) -> f64 {
    let most = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + logarithms
        .iter()
        .map(|ln| (ln - most).exp())
        .sum::<f64>()
        .ln()
}
