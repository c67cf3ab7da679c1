//! Who can reach whom, and how long it takes.

use crate::chance::Chance;

const MS: u64 = 1_000;

/// What is cut off from what. Nodes are named by their place in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The node and all others do not hear each other.
    Alone(usize),
    /// The node hears nobody.
    Deaf(usize),
    /// Nobody hears the node.
    Mute(usize),
    /// Two nodes do not hear each other; all others hear both.
    Bridge(usize, usize),
    /// The first one's messages do not reach the second one.
    OneWay(usize, usize),
    /// Nodes whose bit is set, and the others.
    Split(u64),
}

impl Shape {
    const fn blocks(self, from: usize, to: usize) -> bool {
        match self {
            Self::Alone(node) => from == node || to == node,
            Self::Deaf(node) => to == node,
            Self::Mute(node) => from == node,
            Self::Bridge(a, b) => (from == a && to == b) || (from == b && to == a),
            Self::OneWay(a, b) => from == a && to == b,
            Self::Split(mask) => (mask >> from) & 1 != (mask >> to) & 1,
        }
    }
}

/// How badly messages between replicas fare.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Noise {
    /// Of 100 messages, so many are lost.
    pub(crate) drop_percent: u64,
    /// So many come twice.
    pub(crate) double_percent: u64,
    /// So many are late by up to [`Noise::late_us`].
    pub(crate) late_percent: u64,
    /// How late.
    pub(crate) late_us: u64,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Net {
    cuts: Vec<(u64, Shape)>,
    n_cuts: u64,
    pub(crate) noise: Noise,
}

impl Net {
    /// Cuts; the number ends it.
    pub(crate) fn cut(&mut self, shape: Shape) -> u64 {
        self.n_cuts += 1;
        self.cuts.push((self.n_cuts, shape));
        self.n_cuts
    }

    pub(crate) fn mend(&mut self, cut: u64) {
        self.cuts.retain(|(number, _)| *number != cut);
    }

    /// Everybody hears everybody, and nothing is lost.
    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        self.noise = Noise::default();
    }

    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.iter().any(|(_, shape)| shape.blocks(from, to))
    }

    /// After how long each copy of a message between replicas arrives; none if it is lost.
    pub(crate) fn copies(&self, from: usize, to: usize, chance: &mut Chance) -> [Option<u64>; 2] {
        let noise = &self.noise;
        if self.is_cut(from, to) || (noise.drop_percent > 0 && chance.percent(noise.drop_percent)) {
            return [None, None];
        }
        let first = self.delay(chance);
        let is_double = noise.double_percent > 0 && chance.percent(noise.double_percent);
        [Some(first), is_double.then(|| self.delay(chance))]
    }

    fn delay(&self, chance: &mut Chance) -> u64 {
        let noise = &self.noise;
        let is_late = noise.late_percent > 0 && chance.percent(noise.late_percent);
        let late = if is_late { chance.below(noise.late_us) } else { 0 };
        Self::latency(chance) + late
    }

    /// The usual way of a message.
    pub(crate) fn latency(chance: &mut Chance) -> u64 {
        200 + chance.below(2 * MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each shape must cut what it says and nothing else, and an ended cut must cut nothing.
    #[test]
    fn shapes_cut_what_they_say() {
        let pairs = |shape: Shape| {
            let all = (0..4).flat_map(|from| (0..4).map(move |to| (from, to)));
            all.filter(|&(from, to)| from != to && shape.blocks(from, to)).count()
        };
        assert_eq!(pairs(Shape::Alone(1)), 6);
        assert_eq!(pairs(Shape::Deaf(1)), 3);
        assert_eq!(pairs(Shape::Mute(1)), 3);
        assert_eq!(pairs(Shape::Bridge(0, 1)), 2);
        assert_eq!(pairs(Shape::OneWay(0, 1)), 1);
        assert_eq!(pairs(Shape::Split(0b0011)), 8);
        let mut net = Net::default();
        let cut = net.cut(Shape::Deaf(2));
        assert!(net.is_cut(1, 2) && !net.is_cut(2, 1));
        net.mend(cut);
        assert!(!net.is_cut(1, 2));
    }
}
