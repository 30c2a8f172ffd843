//! When a lost GPU is tried again.
//!
//! Drivers restart and laptops switch adapters: a device that drew for a while and was lost is replaced at once. One
//! that is lost again before it has drawn is tried a few times more, later each time, and then left alone.

/// Frames after which a device counts as sound.
pub const FRAMES_SOUND: u32 = 8;

/// Wait before each attempt after losses in a row, in milliseconds; after the last one there is no other.
pub const DELAYS_MS: [u32; 4] = [0, 1_000, 5_000, 30_000];

/// The losses of one canvas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    in_a_row: usize,
    /// Frames that the present device has drawn.
    frames: u32,
}

impl Losses {
    /// The device drew a frame.
    pub fn drew(&mut self) {
        self.frames += 1;
        if self.frames >= FRAMES_SOUND {
            self.in_a_row = 0;
        }
    }

    /// The device is lost, or could not be had. Returns the wait before the next attempt, in milliseconds; `None` if
    /// there should be none.
    pub fn lost(&mut self) -> Option<u32> {
        self.frames = 0;
        let delay_ms = DELAYS_MS.get(self.in_a_row).copied();
        self.in_a_row += 1;
        delay_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames that each device draws before it is lost, and the waits.
    #[track_caller]
    fn check(frames: &[u32], expect: &[Option<u32>]) {
        let mut losses = Losses::default();
        let lose = |&frames: &u32| {
            (0..frames).for_each(|_| losses.drew());
            losses.lost()
        };
        assert_eq!(frames.iter().map(lose).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn sound_devices_are_replaced_at_once_and_others_given_up() {
        check(&[100, 100, 100, 100, 100, 100], &[Some(0); 6]);
        check(&[0, 0, 1, 7, 0, 0], &[Some(0), Some(1_000), Some(5_000), Some(30_000), None, None]);
        check(&[0, 0, FRAMES_SOUND, 0], &[Some(0), Some(1_000), Some(0), Some(1_000)]);
    }
}
