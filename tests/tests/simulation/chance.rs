//! Chance: what happens when, from a seed. The same seed gives the same years, on any number of threads.

/// A moment, or how long something takes, in minutes. Moments count from when the tesserae were published.
pub(crate) type Minute = u32;

pub(crate) const HOUR: Minute = 60;
pub(crate) const DAY: Minute = 24 * HOUR;
pub(crate) const YEAR: Minute = 365 * DAY;

/// How long something lasts: a log-normal distribution, whose tail is heavy.
#[derive(Clone, Copy)]
pub(crate) struct Lasting {
    /// Half of them are shorter, in hours.
    pub(crate) median_hours: f64,
    /// The standard deviation of the logarithm.
    pub(crate) sigma: f64,
}

pub(crate) struct Chance(fastrand::Rng);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Until something happens that does so once in so many years, whenever it happened last; `None` for what never does.
    pub(crate) fn until_next(&mut self, years: f64) -> Option<Minute> {
        let within = -self.positive().ln() * years;
        within.is_finite().then(|| minutes(within * f64::from(YEAR)))
    }

    pub(crate) fn lasts(&mut self, lasting: Lasting) -> Minute {
        // Box and Muller.
        let normal = (-2.0 * self.positive().ln()).sqrt() * (std::f64::consts::TAU * self.0.f64()).cos();
        minutes(lasting.median_hours * f64::from(HOUR) * (lasting.sigma * normal).exp())
    }

    /// Whether something is so that is so in this share of all cases.
    pub(crate) fn is(&mut self, share: f64) -> bool {
        self.0.f64() < share
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    /// A moment before this one.
    pub(crate) fn before(&mut self, end: Minute) -> Minute {
        self.0.u32(..end)
    }

    /// A place in a list of weights that were added up.
    pub(crate) fn weighted(&mut self, sums: &[f64]) -> usize {
        let at = self.0.f64() * sums.last().copied().unwrap_or_default();
        sums.partition_point(|sum| *sum <= at).min(sums.len().saturating_sub(1))
    }

    /// Bytes of a key or a hash.
    pub(crate) fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill(&mut bytes);
        bytes
    }

    /// More than 0, at most 1.
    fn positive(&mut self) -> f64 {
        1.0 - self.0.f64()
    }
}

/// The sums of the weights 1, 2^−e, 3^−e, …: a few large ones and many small ones, as Zipf found.
pub(crate) fn zipf_sums(count: u32, exponent: f64) -> Vec<f64> {
    let weights = (1..=count).map(|rank| f64::from(rank).powf(-exponent));
    let sums = weights.scan(0.0, |sum, weight| {
        *sum += weight;
        Some(*sum)
    });
    sums.collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
fn minutes(minutes: f64) -> Minute {
    minutes.ceil() as Minute
}

#[test]
fn chance_has_the_means_and_medians_that_are_asked_for() {
    let mut chance = Chance::new(1);
    let waits: Vec<_> = (0..20_000).map(|_| chance.until_next(2.0).unwrap()).collect();
    let mean = waits.iter().map(|wait| f64::from(*wait)).sum::<f64>() / 20_000.0 / f64::from(YEAR);
    assert!((1.95..2.05).contains(&mean), "{mean}");
    let lasting = Lasting { median_hours: 1.0, sigma: 2.0 };
    let times: Vec<_> = (0..20_000).map(|_| chance.lasts(lasting)).collect();
    let longer = |than: Minute| times.iter().filter(|time| **time > than).count();
    assert!((9_700..10_300).contains(&longer(HOUR)), "{}", longer(HOUR));
    // ln 48 / 2 = 1.94 standard deviations: 2.6 %.
    assert!((430..620).contains(&longer(2 * DAY)), "{}", longer(2 * DAY));
    assert_eq!(chance.until_next(f64::INFINITY), None);
    let sums = zipf_sums(2, 1.0);
    let first = (0..20_000).filter(|_| chance.weighted(&sums) == 0).count();
    assert!((13_000..13_700).contains(&first), "{first}");
}
