//! Gives scattered numbers dense ones, so that tables can be plain vectors.

/// Numbers that were seen, in order, and the way back from each to its position.
#[derive(Debug, Default)]
pub(crate) struct Dense {
    numbers: Vec<u64>,
    /// Position by distance from the first number; empty if the numbers are too far apart for it.
    table: Vec<u32>,
}

const NONE: u32 = u32::MAX;

/// A table may have so many entries for each number, and a few more.
const SPREAD_MAX: u64 = 8;

impl Dense {
    /// Takes numbers in any order, also several times.
    pub(crate) fn of(mut seen: Vec<u64>) -> Self {
        let (Some(first), Some(last)) = (seen.iter().min().copied(), seen.iter().max().copied())
        else {
            return Self::default();
        };
        let n_table = (seen.len() as u64).saturating_mul(SPREAD_MAX).min(u64::from(NONE));
        if n_table < last - first {
            seen.sort_unstable();
            seen.dedup();
            return Self { numbers: seen, table: Vec::new() };
        }
        let mut table = vec![NONE; (last - first) as usize + 1];
        for number in &seen {
            if let Some(entry) = table.get_mut((number - first) as usize) {
                *entry = 0;
            }
        }
        let mut numbers = Vec::new();
        for (distance, entry) in table.iter_mut().enumerate().filter(|(_, entry)| **entry == 0) {
            *entry = numbers.len() as u32;
            numbers.push(first + distance as u64);
        }
        Self { numbers, table }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The position of a number.
    pub(crate) fn idx(&self, number: u64) -> Option<usize> {
        if self.table.is_empty() {
            return self.numbers.binary_search(&number).ok();
        }
        let distance = number.checked_sub(*self.numbers.first()?)?;
        let entry = self.table.get(usize::try_from(distance).ok()?)?;
        (*entry != NONE).then_some(*entry as usize)
    }

    /// The number at a position; 0 if there is none.
    pub(crate) fn number(&self, idx: usize) -> u64 {
        self.numbers.get(idx).copied().unwrap_or_default()
    }

    /// The position of the first number that is not below this one.
    pub(crate) fn lower_bound(&self, number: u64) -> usize {
        match self.idx(number) {
            Some(idx) => idx,
            None => self.numbers.partition_point(|of_seen| *of_seen < number),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::Dense;

    proptest! {
        /// Close or scattered, each number must be found at its place in order, and no other.
        #[test]
        fn finds_each_at_its_place(
            numbers in prop::collection::vec(0u64..40, 0..20),
            far in prop::collection::vec(any::<u64>(), 0..3),
            probe in 0u64..50,
        ) {
            let seen: Vec<u64> = numbers.into_iter().chain(far).collect();
            let mut sorted = seen.clone();
            sorted.sort_unstable();
            sorted.dedup();
            let dense = Dense::of(seen);
            prop_assert_eq!(dense.len(), sorted.len());
            for (idx, number) in sorted.iter().enumerate() {
                prop_assert_eq!(dense.idx(*number), Some(idx));
                prop_assert_eq!(dense.number(idx), *number);
            }
            prop_assert_eq!(dense.idx(probe), sorted.binary_search(&probe).ok());
            prop_assert_eq!(dense.lower_bound(probe), sorted.partition_point(|n| *n < probe));
        }
    }
}
