//! The climate: what befalls machines, networks, providers and operators, and how often. All figures are chosen, and meant to
//! be harder than what a network of people who know each other will see; what they lean on stands beside them.

use crate::chance::Lasting;

#[derive(Clone, Copy)]
pub(crate) struct Climate {
    /// A machine is gone for ever after so many years, in the mean, and its operator begins anew with an empty one.
    pub(crate) machine_years: f64,
    /// An operator quits after so many years, in the mean, with all machines, and another comes with as many.
    pub(crate) operator_years: f64,
    /// A machine is away once in so many years.
    pub(crate) away_years: f64,
    pub(crate) away: Lasting,
    /// A network (/24) is away once in so many years.
    pub(crate) network_away_years: f64,
    /// A network is gone for ever once in so many years, with what all its machines hold.
    pub(crate) network_gone_years: f64,
    /// A provider, which is many networks, is away once in so many years.
    pub(crate) provider_away_years: f64,
    /// A provider is gone for ever once in so many years, with what all its machines hold.
    pub(crate) provider_gone_years: f64,
    /// How long a network or a provider is away.
    pub(crate) outage: Lasting,
    /// The share of operators whose machines take and claim whatever they are given, and keep nothing.
    pub(crate) liars: f64,
    /// The share of operators of several machines that do not say that these are theirs.
    pub(crate) silent: f64,
    /// The share of operators that have all their machines in one network.
    pub(crate) together: f64,
}

impl Climate {
    /// What the table is made with.
    ///
    /// - Machines last two years in the mean: half of those that go do so alone, half with their operator. Disks alone are ten
    ///   times better (1.57 % failed in a year: Backblaze, Drive Stats for 2024); it is people that give up.
    /// - A machine is away every 30 days, for an hour in the median, 7.4 in the mean, and one time in forty for more than two
    ///   days. Exponential absences are too kind (Dandoush, Alouf, Nain: P2P storage systems modeling, 2007).
    /// - What fails together decides (Nath and others: Subtleties in Tolerating Correlated Failures, NSDI 2006), so there is
    ///   much of it: each network is away once in a year, each provider every second year, one time in seven for more than
    ///   two days. Every network is gone for ever once in a hundred years, every provider once in five hundred, which with
    ///   200 of them is every two and a half years somewhere. Placement does not know providers.
    pub(crate) const CHOSEN: Self = Self {
        machine_years: 4.0,
        operator_years: 4.0,
        away_years: 30.0 / 365.0,
        away: Lasting { median_hours: 1.0, sigma: 2.0 },
        network_away_years: 1.0,
        network_gone_years: 100.0,
        provider_away_years: 2.0,
        provider_gone_years: 500.0,
        outage: Lasting { median_hours: 6.0, sigma: 2.0 },
        liars: 0.05,
        silent: 0.25,
        together: 0.5,
    };

    /// Nothing ever happens.
    pub(crate) const CALM: Self = Self {
        machine_years: f64::INFINITY,
        operator_years: f64::INFINITY,
        away_years: f64::INFINITY,
        network_away_years: f64::INFINITY,
        network_gone_years: f64::INFINITY,
        provider_away_years: f64::INFINITY,
        provider_gone_years: f64::INFINITY,
        liars: 0.0,
        silent: 0.0,
        ..Self::CHOSEN
    };
}
