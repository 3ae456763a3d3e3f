//! The code of a layout and the shape that it gives to a stripe.

use std::fmt;

use crate::{
    error::ProtoError,
    fragment::Fragment,
    limits::{CODING_BLOCK_BYTES, STRIPE_DATA_MAX, STRIPE_TOTAL_MAX},
};

/// How many data and parity fragments a stripe has; any `k` of them are enough. Written `k+m`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Code {
    k: u16,
    m: u16,
}

impl Code {
    /// Every chunk for itself, no parity: what a machine alone can do.
    pub const WHOLE: Self = Self { k: 1, m: 0 };

    /// Errors with [`ProtoError::Malformed`] unless 1 ≤ k ≤ [`STRIPE_DATA_MAX`] and k + m ≤ [`STRIPE_TOTAL_MAX`].
    pub fn new(k: u16, m: u16) -> Result<Self, ProtoError> {
        if (1..=STRIPE_DATA_MAX).contains(&k) && m <= STRIPE_TOTAL_MAX - k {
            return Ok(Self { k, m });
        }
        let reason = format!(
            "code {k}+{m}: 1 to {STRIPE_DATA_MAX} data and at most {STRIPE_TOTAL_MAX} fragments in all are allowed"
        );
        Err(ProtoError::malformed("layout", reason))
    }

    /// The code for so many machines, which follows their number and not the size of what they keep: as many fragments as
    /// there are machines, of which a third is parity, or as many as are to be lost if these are more.
    pub fn for_machines(machines: usize, wanted: &Wanted) -> Self {
        let machines = u16::try_from(machines).unwrap_or(u16::MAX).min(STRIPE_TOTAL_MAX);
        let Some(others) = machines.checked_sub(1) else { return Self::WHOLE };
        let k_max = wanted.k_max.clamp(1, STRIPE_DATA_MAX);
        let survive = wanted.survive.min(others);
        let mut m = wanted.survive.max(machines.div_ceil(3)).min(others);
        let k = |m: u16| (machines - m).min(k_max);
        while m > survive && u32::from(k(m) + m) * 100 > u32::from(k(m)) * wanted.overhead_max_percent {
            m -= 1;
        }
        Self { k: k(m), m }
    }

    /// Data fragments of a stripe.
    pub fn k(self) -> u16 {
        self.k
    }

    /// Parity fragments of a stripe.
    pub fn m(self) -> u16 {
        self.m
    }

    /// All fragments of a full stripe.
    pub(crate) fn width(self) -> u64 {
        u64::from(self.k) + u64::from(self.m)
    }
}

/// What is wanted of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// How many machines may be lost.
    pub survive: u16,
    /// How much all fragments together may take, in hundredths of the content. What [`Wanted::survive`] asks for is done
    /// whatever it takes.
    pub overhead_max_percent: u32,
    /// The most data fragments of a stripe: a machine that has little memory codes narrower stripes.
    pub k_max: u16,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.k, self.m)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The shape of one stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stripe {
    data: u16,
    parity: u16,
    chunk_len: u32,
    last_len: u32,
}

impl Stripe {
    /// `data` is at least 1, `last_len` at least 1 and at most `chunk_len`: the layout sees to that.
    pub(crate) fn new(data: u16, parity: u16, chunk_len: u32, last_len: u32) -> Self {
        debug_assert!(data > 0 && (1..=chunk_len).contains(&last_len));
        Self { data, parity, chunk_len, last_len }
    }

    /// The shape of a stripe with these data fragments and that many parity fragments. All have the same length, a
    /// multiple of [`CODING_BLOCK_BYTES`], but the last one may be shorter. Errors with [`ProtoError::Malformed`] for
    /// any others, and for more than a stripe may have.
    pub fn of(data: &[Fragment], parity: u16) -> Result<Self, ProtoError> {
        let lengths = || data.iter().map(|fragment| fragment.bytes().len());
        let (Some(first), Some(last)) = (lengths().next(), lengths().next_back()) else {
            return Err(ProtoError::malformed("stripe", "no data fragment"));
        };
        let (full, _) = data.split_at(data.len() - 1);
        let even = full.iter().all(|fragment| fragment.bytes().len() == first);
        let blocks = full.is_empty() || first.is_multiple_of(CODING_BLOCK_BYTES);
        if !even || !blocks || last > first || last == 0 {
            let reason = format!("data fragments of {:?} bytes", lengths().collect::<Vec<_>>());
            return Err(ProtoError::malformed("stripe", reason));
        }
        match (u16::try_from(data.len()), u32::try_from(first), u32::try_from(last)) {
            (Ok(count), Ok(first), Ok(last))
                if count <= STRIPE_DATA_MAX && parity <= STRIPE_TOTAL_MAX - count =>
            {
                Ok(Self::new(count, parity, first, last))
            }
            _ => Err(ProtoError::malformed(
                "stripe",
                format!("{} data and {parity} parity fragments", data.len()),
            )),
        }
    }

    /// Its data fragments, at least one.
    pub fn data(&self) -> u16 {
        self.data
    }

    /// Its parity fragments.
    pub fn parity(&self) -> u16 {
        self.parity
    }

    /// All its fragments.
    pub fn width(&self) -> u16 {
        self.data + self.parity
    }

    /// Length of the shards it is coded in, in bytes: that of its longest chunk, rounded up to whole blocks. Parity
    /// fragments have this length.
    #[expect(clippy::cast_possible_truncation, reason = "the constant is 64")]
    pub fn shard_len(&self) -> u32 {
        let longest = if self.data > 1 { self.chunk_len } else { self.last_len };
        longest.next_multiple_of(CODING_BLOCK_BYTES as u32)
    }

    /// Length of the fragment at this index in bytes; `None` behind the last.
    pub fn fragment_len(&self, index: u16) -> Option<u32> {
        match index {
            _ if index >= self.width() => None,
            _ if index >= self.data => Some(self.shard_len()),
            _ if index + 1 == self.data => Some(self.last_len),
            _ => Some(self.chunk_len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_outside_its_limits_is_refused() {
        for (k, m, allowed) in [
            (1, 0, true),
            (1, 23, true),
            (16, 8, true),
            (0, 1, false),
            (17, 0, false),
            (1, 24, false),
            (16, 9, false),
            (u16::MAX, u16::MAX, false),
        ] {
            assert_eq!(Code::new(k, m).is_ok(), allowed, "{k}+{m}");
        }
        assert_eq!(Code::new(3, 2).unwrap().to_string(), "3+2");
    }

    #[test]
    fn lengths_follow_from_the_shape() {
        let check = |stripe: Stripe, expected: &[u32]| {
            let lengths: Vec<_> = (0..).map_while(|index| stripe.fragment_len(index)).collect();
            assert_eq!(lengths, expected, "{stripe:?}");
        };
        check(Stripe::new(2, 1, 4096, 4096), &[4096, 4096, 4096]);
        check(Stripe::new(2, 1, 4096, 1), &[4096, 1, 4096]);
        check(Stripe::new(1, 2, 4096, 65), &[65, 128, 128]);
        check(Stripe::new(1, 0, 4096, 65), &[65]);
    }

    fn check(machines: usize, survive: u16, overhead_max_percent: u32, k_max: u16, expected: &str) {
        let wanted = Wanted { survive, overhead_max_percent, k_max };
        let code = Code::for_machines(machines, &wanted);
        assert_eq!(code.to_string(), expected, "{machines} {wanted:?}");
        assert_eq!(Code::new(code.k(), code.m()), Ok(code));
    }

    #[test]
    fn code_follows_the_number_of_machines() {
        for (machines, expected) in
            [(0, "1+0"), (1, "1+0"), (2, "1+1"), (3, "1+2"), (4, "2+2"), (5, "3+2"), (7, "4+3"), (24, "16+8")]
        {
            check(machines, 2, 250, 16, expected);
        }
        check(usize::MAX, 2, 250, 16, "16+8");
    }

    #[test]
    fn small_machine_has_narrower_stripes() {
        check(24, 2, 250, 8, "8+8");
        check(7, 2, 250, 8, "4+3");
        check(24, 2, 150, 8, "8+4");
    }

    #[test]
    fn what_must_survive_is_done_whatever_it_takes() {
        check(6, 5, 250, 16, "1+5");
        check(3, 9, 250, 16, "1+2");
        check(24, 12, 150, 16, "12+12");
        check(24, 0, 100, 16, "16+0");
    }
}
