//! Whether a preview goes through the decoder or the linear map: by measured time, so that a slow GPU never falls
//! behind its worker.
//!
//! Times are given, nothing here has a clock. What a decoder costs is first told by trials on small latents, and then
//! by every preview that it draws.

/// Sides of the trials' latents, in cells. The first one compiles shaders, so its time says nothing.
const TRIALS: [u32; 4] = [8, 8, 16, 32];

/// A trial of this length, in milliseconds, is told apart from what every submission costs; no larger one follows.
const TRIAL_LONG_MS: f64 = 25.0;

/// Share of the time between two previews that the decoder may take to be chosen.
const SHARE_TO_BEGIN: f64 = 0.6;

/// Share at which it is given up. Higher, so that the picture does not flicker between the two.
const SHARE_TO_END: f64 = 0.9;

/// What draws a preview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The linear map.
    Linear,
    /// The decoder.
    Decoder,
}

impl Choice {
    /// The name in `data-drawn`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Decoder => "decoder",
        }
    }
}

/// Chooses for one decoder on one device.
#[derive(Clone, Debug, Default)]
pub struct Chooser {
    /// Trials that were made, of the present row of them.
    trials: usize,
    /// Milliseconds for a cell.
    cost: Option<f64>,
    /// Milliseconds between previews.
    rhythm: Option<f64>,
    /// When the last preview came.
    arrived_ms: Option<f64>,
    /// When the GPU was last given something to decode, and how many cells, while it is at work.
    under_way: Option<(f64, u32)>,
    decodes: bool,
}

impl Chooser {
    /// The side in cells of the latent that should be decoded now, in no picture, to learn what it costs.
    pub fn trial(&self) -> Option<u32> {
        TRIALS.get(self.trials).copied().filter(|_| self.under_way.is_none())
    }

    /// Another picture is shown: its previews have a rhythm of their own. If the last one was drawn without the
    /// decoder, trials tell anew whether that is still right.
    pub fn begin(&mut self) {
        self.rhythm = None;
        self.arrived_ms = None;
        if self.trials >= TRIALS.len() && !self.decodes {
            // All but the one that compiles.
            self.trials = 1;
        }
    }

    /// A preview of the picture came.
    pub fn arrived(&mut self, now_ms: f64) {
        if let Some(before) = self.arrived_ms.replace(now_ms) {
            self.rhythm = Some(smooth(self.rhythm, now_ms - before));
        }
    }

    /// What should draw a preview of so many cells.
    pub fn choose(&mut self, cells: u32) -> Choice {
        let known = self.cost.zip(self.rhythm).filter(|_| self.trial().is_none() && self.under_way.is_none());
        let Some((cost, rhythm)) = known else { return Choice::Linear };
        let share = if self.decodes { SHARE_TO_END } else { SHARE_TO_BEGIN };
        self.decodes = cost * f64::from(cells) <= rhythm * share;
        if self.decodes { Choice::Decoder } else { Choice::Linear }
    }

    /// The GPU was given so many cells to decode.
    pub fn submitted(&mut self, now_ms: f64, cells: u32) {
        self.under_way = Some((now_ms, cells));
    }

    /// The GPU has done so.
    pub fn finished(&mut self, now_ms: f64) {
        let Some((since, cells)) = self.under_way.take() else { return };
        let took = now_ms - since;
        let cost = took / f64::from(cells);
        if self.trials >= TRIALS.len() {
            self.cost = Some(smooth(self.cost, cost));
            return;
        }
        let compiled = self.trials > 0;
        self.trials = if compiled && took >= TRIAL_LONG_MS { TRIALS.len() } else { self.trials + 1 };
        self.cost = compiled.then_some(cost);
    }
}

/// Halfway from what was known to what was seen.
fn smooth(known: Option<f64>, seen: f64) -> f64 {
    known.map_or(seen, |known| known + (seen - known) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A GPU and a worker, and the clock between them.
    struct World {
        now_ms: f64,
        /// Milliseconds that every submission takes, and that every cell adds.
        gpu: (f64, f64),
        chooser: Chooser,
    }

    impl World {
        fn new(gpu: (f64, f64)) -> Self {
            Self { now_ms: 0.0, gpu, chooser: Chooser::default() }
        }

        fn decode(&mut self, cells: u32) {
            self.chooser.submitted(self.now_ms, cells);
            self.now_ms += self.gpu.0 + self.gpu.1 * f64::from(cells);
            self.chooser.finished(self.now_ms);
        }

        /// Makes the trials; returns their sides.
        fn try_out(&mut self) -> Vec<u32> {
            let mut sides = Vec::new();
            while let Some(side) = self.chooser.trial() {
                sides.push(side);
                self.decode(side * side);
            }
            sides
        }

        /// Draws a picture of `steps` previews that come every `interval_ms`, as `L` and `D`, or `.` where the GPU is
        /// still at work on one before.
        fn draw(&mut self, steps: u32, interval_ms: f64, cells: u32) -> String {
            self.chooser.begin();
            self.try_out();
            let mut busy_until_ms = None;
            let step = |_| {
                if busy_until_ms.is_some_and(|until| until <= self.now_ms) {
                    self.chooser.finished(busy_until_ms.take().unwrap());
                }
                self.chooser.arrived(self.now_ms);
                let seen = match busy_until_ms {
                    Some(_) => '.',
                    None if self.chooser.choose(cells) == Choice::Decoder => {
                        self.chooser.submitted(self.now_ms, cells);
                        busy_until_ms = Some(self.now_ms + self.gpu.0 + self.gpu.1 * f64::from(cells));
                        'D'
                    }
                    None => 'L',
                };
                self.now_ms += interval_ms;
                seen
            };
            let seen = (0..steps).map(step).collect();
            if let Some(until) = busy_until_ms {
                self.now_ms = self.now_ms.max(until);
                self.chooser.finished(until);
            }
            seen
        }
    }

    #[track_caller]
    fn check(gpu: (f64, f64), interval_ms: f64, cells: u32, expect: &str) {
        assert_eq!(World::new(gpu).draw(expect.len() as u32, interval_ms, cells), expect);
    }

    #[test]
    fn a_decoder_that_fits_draws_as_soon_as_the_rhythm_is_known() {
        check((1.0, 0.005), 100.0, 64 * 64, "LDDDDD");
        check((1.0, 0.01), 100.0, 32 * 32, "LDDDDD");
    }

    #[test]
    fn a_decoder_that_does_not_fit_never_draws() {
        check((1.0, 0.05), 100.0, 64 * 64, "LLLLLL");
        check((1.0, 3.0), 250.0, 32 * 32, "LLLLLL");
    }

    #[test]
    fn trials_stop_where_they_are_long_enough() {
        assert_eq!(World::new((1.0, 0.001)).try_out(), [8, 8, 16, 32]);
        assert_eq!(World::new((1.0, 0.2)).try_out(), [8, 8, 16]);
        assert_eq!(World::new((1.0, 5.0)).try_out(), [8, 8]);
    }

    #[test]
    fn the_compilation_of_shaders_does_not_count() {
        let mut world = World::new((400.0, 0.001));
        assert_eq!(world.chooser.trial(), Some(8));
        world.decode(64);
        world.gpu.0 = 1.0;
        assert_eq!(world.draw(3, 50.0, 1024), "LDD");
    }

    #[test]
    fn a_gpu_that_becomes_slow_is_left_alone_until_the_next_picture() {
        let mut world = World::new((1.0, 0.01));
        assert_eq!(world.draw(4, 40.0, 1024), "LDDD");
        world.gpu.1 = 0.2;
        assert_eq!(world.draw(9, 40.0, 1024), "LD.....LL");
        assert_eq!(world.draw(3, 40.0, 1024), "LLL");
        world.gpu.1 = 0.01;
        assert_eq!(world.draw(3, 40.0, 1024), "LDD");
    }

    #[test]
    fn between_the_two_shares_what_draws_goes_on() {
        let mut world = World::new((0.0, 0.01));
        assert_eq!(world.draw(3, 20.0, 1000), "LDD");
        // Ten milliseconds are 83 % of twelve: enough to stay, not to begin.
        assert_eq!(world.draw(5, 12.0, 1000), "LDDDD");
        world.chooser.decodes = false;
        assert_eq!(world.draw(5, 12.0, 1000), "LLLLL");
    }

    #[test]
    fn nothing_is_added_to_a_gpu_at_work() {
        let mut world = World::new((0.0, 0.01));
        world.draw(3, 100.0, 1000);
        world.chooser.submitted(world.now_ms, 1000);
        assert_eq!((world.chooser.choose(1000), world.chooser.trial()), (Choice::Linear, None));
        world.chooser.finished(world.now_ms + 10.0);
        assert_eq!(world.chooser.choose(1000), Choice::Decoder);
    }
}
