//! A Brownian path per image, fixed by its seed: torchsde's `BrownianInterval` with a dyadic tree, as diffusers'
//! `DPMSolverSDEScheduler` uses it.
//!
//! What the path gains over an interval does not depend on how finely it is walked. The whole interval's increment is
//! drawn first; each half's follows from its parent's by a Brownian bridge, with noise from a seed that numpy's
//! `SeedSequence` derives from the job's seed and the half's place in the tree.

use candle_core::{Result, Tensor};

use crate::diffusion::noise::{LatentNoise, Rng};

/// Words of entropy that torchsde's tree mixes.
const POOL: usize = 24;

/// The path of one image.
#[derive(Debug)]
pub struct BrownianPath {
    seed: u64,
    start: f64,
    end: f64,
}

/// A piece of the path: `[1, height, width, channels]` f32 is what it gains.
struct Piece {
    start: f64,
    end: f64,
    place: u32,
    depth: u32,
    gain: Tensor,
}

impl BrownianPath {
    /// The path of `seed` between two times.
    pub fn new(seed: u64, start: f64, end: f64) -> Self {
        Self { seed, start: rounded(start), end: rounded(end) }
    }

    /// What the path gains from `from` to `to`, which is not before it, in the shape of `like`,
    /// `[1, height, width, channels]`.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn gain(&self, from: f64, to: f64, like: &Tensor) -> Result<Tensor> {
        let [from, to] = [from, to].map(|time| rounded(time.clamp(self.start, self.end)));
        if from >= to {
            return like.zeros_like();
        }
        let noise = normals(seed_sequence(self.seed, None), like)?;
        let gain = (noise * (self.end - self.start).sqrt())?;
        let whole = Piece { start: self.start, end: self.end, place: 0, depth: 0, gain };
        let mut sum = like.zeros_like()?;
        self.collect(whole, from, to, &mut sum)?;
        Ok(sum)
    }

    /// Adds to `sum` what the part of `piece` between two times gains.
    fn collect(&self, piece: Piece, from: f64, to: f64, sum: &mut Tensor) -> Result<()> {
        if from <= piece.start && to >= piece.end {
            *sum = (&*sum + piece.gain)?;
            return Ok(());
        }
        let middle = rounded(0.5 * (piece.end + piece.start));
        let (left, right) = (middle - piece.start, piece.end - middle);
        let share = 1.0 / (piece.end - piece.start);
        let noise = normals(seed_sequence(self.seed, Some([piece.place, piece.depth])), &piece.gain)?;
        let left_gain = ((&piece.gain * (left * share))? + (noise * (left * right * share).sqrt())?)?;
        let child = |is_right: bool, start, end, gain| Piece {
            start,
            end,
            place: 2 * piece.place + u32::from(is_right),
            depth: piece.depth + 1,
            gain,
        };
        if to > middle {
            let gain = (&piece.gain - &left_gain)?;
            self.collect(child(true, middle, piece.end, gain), from.max(middle), to, sum)?;
        }
        if from < middle {
            self.collect(child(false, piece.start, middle, left_gain), from, to.min(middle), sum)?;
        }
        Ok(())
    }
}

/// Times are told apart to six decimals. Half of all middles lie between two of them but for the last bit, which only
/// the digits themselves tell right, as Python's `round` does.
fn rounded(time: f64) -> f64 {
    format!("{time:.6}").parse().expect("a number in digits is a number")
}

/// Unit noise from a generator of its own, in the shape of `like`.
fn normals(seed: u32, like: &Tensor) -> Result<Tensor> {
    let (_, height, width, channels) = like.dims4()?;
    LatentNoise::new(Rng::Cpu, u64::from(seed), 1, (height, width, channels), like.device()).draw()
}

/// `numpy.random.SeedSequence(seed, spawn_key=spawn, pool_size=24).generate_state(1)` (O'Neill 2015, as numpy mixes).
fn seed_sequence(seed: u64, spawn: Option<[u32; 2]>) -> u32 {
    let (low, high) = (seed as u32, (seed >> 32) as u32);
    let mut entropy = vec![low];
    entropy.extend((high != 0).then_some(high));
    if let Some(spawn) = spawn {
        // Padded, so that no longer seed can pass for a shorter one with its place.
        entropy.resize(POOL, 0);
        entropy.extend(spawn);
    }
    let mut mixing = Hash { constant: 0x43b0_d7e5, multiplier: 0x931e_8875 };
    let mut pool: Vec<u32> = (0..POOL).map(|i| mixing.hash(entropy.get(i).copied().unwrap_or(0))).collect();
    for source in 0..POOL {
        for target in (0..POOL).filter(|&target| target != source) {
            pool[target] = mix(pool[target], mixing.hash(pool[source]));
        }
    }
    for &word in entropy.iter().skip(POOL) {
        for target in &mut pool {
            *target = mix(*target, mixing.hash(word));
        }
    }
    Hash { constant: 0x8b51_f9dd, multiplier: 0x58f3_8ded }.hash(pool[0])
}

/// The multiplicative hash whose constant changes with every call.
struct Hash {
    constant: u32,
    multiplier: u32,
}

impl Hash {
    fn hash(&mut self, word: u32) -> u32 {
        let word = word ^ self.constant;
        self.constant = self.constant.wrapping_mul(self.multiplier);
        let word = word.wrapping_mul(self.constant);
        word ^ (word >> 16)
    }
}

fn mix(x: u32, y: u32) -> u32 {
    let mixed = x.wrapping_mul(0xca01_f9dd).wrapping_sub(y.wrapping_mul(0x4973_f715));
    mixed ^ (mixed >> 16)
}
