//! Where the picture is drawn anew, and the brush that says so.

use super::frame::Rect;

/// Parts of a px in which points are kept.
const PARTS: f32 = 4.0;
/// Share of its radius that a brush keeps under the lightest pressure.
const LIGHTEST: f32 = 0.2;

/// What a brush leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Draws anew.
    Paint,
    /// Keeps the picture.
    Erase,
}

/// Where a brush was, and how wide: x, y and radius in quarters of a px of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point(pub(super) i32, pub(super) i32, pub(super) i32);

impl Point {
    /// A brush of this diameter. `pressure` is a pen's, in `[0, 1]`; a mouse and a finger have none.
    pub fn new(x: f32, y: f32, diameter: f32, pressure: Option<f32>) -> Self {
        let pressed = pressure.map_or(1.0, |pressure| LIGHTEST + (1.0 - LIGHTEST) * pressure.clamp(0.0, 1.0));
        let part = |px: f32| (px * PARTS).round() as i32;
        Self(part(x), part(y), part(diameter / 2.0 * pressed).max(1))
    }

    fn px(self) -> [f32; 3] {
        [self.0, self.1, self.2].map(|part| part as f32 / PARTS)
    }
}

/// Where the picture is drawn anew: `[height, width]` u8, 255 anew and 0 as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    size: (u32, u32),
    levels: Vec<u8>,
}

impl Mask {
    /// A mask that keeps all of a picture.
    pub fn new(size: (u32, u32)) -> Self {
        Self { size, levels: vec![0; size.0 as usize * size.1 as usize] }
    }

    /// The levels, in rows from the top.
    pub fn levels(&self) -> &[u8] {
        &self.levels
    }

    /// Whether nothing in `part` is drawn anew.
    pub fn is_empty(&self, part: Rect) -> bool {
        self.rows(part).all(|row| row.iter().all(|&level| level == 0))
    }

    /// How much of `part` is drawn anew, in percent; more than 0 where there is anything.
    pub fn percent(&self, part: Rect) -> u32 {
        let sum: u64 = self.rows(part).flatten().map(|&level| u64::from(level)).sum();
        let all = u64::from(part.width) * u64::from(part.height) * u64::from(u8::MAX);
        (sum * 100).div_ceil(all.max(1)) as u32
    }

    /// `part` as RGBA rows, of which `colour` makes each pixel.
    pub fn rgba(&self, part: Rect, colour: impl Fn(u8) -> [u8; 4]) -> Vec<u8> {
        self.rows(part).flatten().flat_map(|&level| colour(level)).collect()
    }

    /// Draws a brush from one point to the next, its edge one px wide. Returns what may have changed.
    ///
    /// Levels only rise (or, erasing, only fall), so that points that lie close leave no beads.
    pub fn draw(&mut self, from: Point, to: Point, ink: Ink) -> Rect {
        let ([ax, ay, ar], [bx, by, br]) = (from.px(), to.px());
        let (low, high) = ((ax - ar).min(bx - br).floor() - 1.0, (ax + ar).max(bx + br).ceil() + 1.0);
        let (top, bottom) = ((ay - ar).min(by - br).floor() - 1.0, (ay + ar).max(by + br).ceil() + 1.0);
        let part = Rect { x: low as i32, y: top as i32, width: (high - low) as u32, height: (bottom - top) as u32 }
            .within(self.size);
        let (dx, dy) = (bx - ax, by - ay);
        let length = dx * dx + dy * dy;
        for y in part.y..part.y + part.height as i32 {
            let row = y as usize * self.size.0 as usize;
            for x in part.x..part.x + part.width as i32 {
                // From the middle of the pixel.
                let (px, py) = (x as f32 + 0.5 - ax, y as f32 + 0.5 - ay);
                let along = if length > 0.0 { ((px * dx + py * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
                let (ox, oy) = (px - dx * along, py - dy * along);
                let cover = (ar + (br - ar) * along + 0.5 - (ox * ox + oy * oy).sqrt()).clamp(0.0, 1.0);
                let (level, new) = (&mut self.levels[row + x as usize], (cover * 255.0).round() as u8);
                *level = match ink {
                    Ink::Paint => new.max(*level),
                    Ink::Erase => (u8::MAX - new).min(*level),
                };
            }
        }
        part
    }

    /// Fills an area.
    pub fn fill(&mut self, part: Rect, ink: Ink) -> Rect {
        let part = part.within(self.size);
        let level = if ink == Ink::Paint { u8::MAX } else { 0 };
        let width = self.size.0 as usize;
        for y in part.y as usize..part.y as usize + part.height as usize {
            self.levels[y * width + part.x as usize..][..part.width as usize].fill(level);
        }
        part
    }

    /// Draws anew what was kept, and the other way round.
    pub fn invert(&mut self) -> Rect {
        self.levels.iter_mut().for_each(|level| *level = u8::MAX - *level);
        Rect::whole(self.size)
    }

    fn rows(&self, part: Rect) -> impl Iterator<Item = &[u8]> {
        let part = part.within(self.size);
        let width = self.size.0 as usize;
        let rows = part.y as usize..part.y as usize + part.height as usize;
        rows.map(move |y| &self.levels[y * width + part.x as usize..][..part.width as usize])
    }
}
