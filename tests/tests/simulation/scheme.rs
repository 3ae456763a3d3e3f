//! What is compared: a code, how its fragments are spread over machines, and whether anybody mends.

use proto::layout::{Code, Wanted};

pub(crate) struct Scheme {
    pub(crate) code: Code,
    /// How many machines keep a tessera.
    pub(crate) machines: usize,
    pub(crate) spread: Spread,
    pub(crate) mends: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// As [`proto::placement::fill`] does: by domain and network, one fragment on each machine.
    Apart,
    /// Fragment i is kept by the machine at i modulo their number, whoever runs it. Who mends gives all that one machine had to
    /// one other.
    RoundRobin,
}

impl Scheme {
    /// Ours, with the code that follows from the number of machines.
    pub(crate) fn ours(machines: usize, mends: bool) -> Self {
        Self { code: Code::for_machines(machines, &WANTED), machines, spread: Spread::Apart, mends }
    }

    /// The earlier system, whose code was the same whatever the number of machines, which was seven.
    pub(crate) fn earlier(mends: bool) -> Self {
        Self { code: Code::new(16, 8).unwrap(), machines: 7, spread: Spread::RoundRobin, mends }
    }

    /// What the table shows, from the earlier system as it was to ours as it is. The rows between tell what the layout does and
    /// what repair does.
    pub(crate) fn all() -> Vec<Self> {
        vec![
            Self::earlier(false),
            Self::earlier(true),
            Self::ours(7, false),
            Self::ours(7, true),
            Self::ours(24, false),
            Self::ours(24, true),
        ]
    }

    /// All fragments together, in multiples of the tessera.
    pub(crate) fn overhead(&self) -> f64 {
        f64::from(self.code.k() + self.code.m()) / f64::from(self.code.k())
    }

    /// Fragments of a stripe.
    pub(crate) fn width(&self) -> usize {
        usize::from(self.code.k() + self.code.m())
    }
}

/// As `layout = "auto"` does where nothing else is set.
pub(crate) const WANTED: Wanted = Wanted { survive: 2, overhead_max_percent: 250, k_max: 16 };

#[test]
fn earlier_system_has_as_many_machines_or_as_much_overhead_as_ours() {
    let check = |scheme: Scheme, machines, code: &str, overhead: f64| {
        assert_eq!((scheme.machines, scheme.code.to_string().as_str()), (machines, code));
        assert!((scheme.overhead() - overhead).abs() < 1e-9, "{}", scheme.overhead());
    };
    check(Scheme::earlier(true), 7, "16+8", 1.5);
    check(Scheme::ours(7, true), 7, "4+3", 1.75);
    check(Scheme::ours(24, true), 24, "16+8", 1.5);
}
