//! Which part of the picture a job sees, and how far it grows beyond.

use sd_protocol::OutpaintRequest;
use sd_protocol::limits::{SIDE_PX_MAX, SIDE_PX_MIN, SIDE_PX_MULTIPLE};

/// px around the picture and its frame, as a share of the longer side, where handles can be pulled to.
const MARGIN: f32 = 0.2;

/// An area, in px of the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rect {
    /// From the left edge of the picture.
    pub x: i32,
    /// From its top.
    pub y: i32,
    /// px
    pub width: u32,
    /// px
    pub height: u32,
}

impl Rect {
    /// All of a picture.
    pub fn whole((width, height): (u32, u32)) -> Self {
        Self { x: 0, y: 0, width, height }
    }

    /// Its part that lies on a picture.
    pub fn within(self, (width, height): (u32, u32)) -> Self {
        let span = |from: i32, length: u32, most: u32| {
            let end = i64::from(from) + i64::from(length);
            let (from, end) = (i64::from(from).clamp(0, most.into()), end.clamp(0, most.into()));
            (from as i32, (end - from) as u32)
        };
        let (x, width) = span(self.x, self.width, width);
        let (y, height) = span(self.y, self.height, height);
        Self { x, y, width, height }
    }

    /// The smallest area that holds both; an empty one adds nothing.
    pub fn and(self, other: Self) -> Self {
        if self.is_empty() || other.is_empty() {
            return if self.is_empty() { other } else { self };
        }
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        let right = (self.x + self.width as i32).max(other.x + other.width as i32);
        let bottom = (self.y + self.height as i32).max(other.y + other.height as i32);
        Self { x, y, width: (right - x) as u32, height: (bottom - y) as u32 }
    }

    /// Whether nothing is in it.
    pub fn is_empty(self) -> bool {
        self.width == 0 || self.height == 0
    }
}

/// How far the frame of the job lies outside the picture, in px of the picture; what is negative cuts off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// At the left.
    pub left: i32,
    /// At the top.
    pub top: i32,
    /// At the right.
    pub right: i32,
    /// At the bottom.
    pub bottom: i32,
}

/// What the frame is pulled by: an edge or a corner, each of −1, 0, 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    /// −1 pulls the left edge, 1 the right one.
    pub x: i8,
    /// −1 pulls the upper edge, 1 the lower one.
    pub y: i8,
}

impl Handle {
    /// All eight, clockwise from the upper left corner.
    pub const ALL: [Self; 8] = [
        Self { x: -1, y: -1 },
        Self { x: 0, y: -1 },
        Self { x: 1, y: -1 },
        Self { x: 1, y: 0 },
        Self { x: 1, y: 1 },
        Self { x: 0, y: 1 },
        Self { x: -1, y: 1 },
        Self { x: -1, y: 0 },
    ];
}

impl Frame {
    /// The area of the frame over a picture of this size.
    pub fn rect(self, (width, height): (u32, u32)) -> Rect {
        let grown = |length: u32, a: i32, b: i32| (length as i32 + a + b).max(1) as u32;
        Rect {
            x: -self.left,
            y: -self.top,
            width: grown(width, self.left, self.right),
            height: grown(height, self.top, self.bottom),
        }
    }

    /// What of the picture is in the frame.
    pub fn crop(self, size: (u32, u32)) -> Rect {
        self.rect(size).within(size)
    }

    /// How far a job grows what is in the frame, if it does.
    pub fn outpaint(self) -> Option<OutpaintRequest> {
        let grown = |side: i32| side.max(0) as u32;
        let sides = OutpaintRequest {
            left: grown(self.left),
            top: grown(self.top),
            right: grown(self.right),
            bottom: grown(self.bottom),
        };
        Some(sides).filter(|sides| *sides != OutpaintRequest::default())
    }

    /// The nearest frame that a job can have: it shows some of the picture, and no side is too short or too long.
    pub fn limited(self, (width, height): (u32, u32)) -> Self {
        let (left, right) = limited((self.left, self.right), width);
        let (top, bottom) = limited((self.top, self.bottom), height);
        Self { left, top, right, bottom }
    }

    /// The frame after `handle` was pulled by so many px. Its sides stay whole latent cells, which a job draws without
    /// scaling.
    pub fn pulled(self, handle: Handle, (dx, dy): (f32, f32), size: (u32, u32)) -> Self {
        let mut pulled = self;
        let (left, right) = pull((self.left, self.right), handle.x, dx, size.0);
        let (top, bottom) = pull((self.top, self.bottom), handle.y, dy, size.1);
        (pulled.left, pulled.right, pulled.top, pulled.bottom) = (left, right, top, bottom);
        pulled.limited(size)
    }

    /// What a screen shows: the frame alone, or all of the picture too, with room to pull the frame into.
    pub fn view(self, size: (u32, u32), with_margin: bool) -> Rect {
        let rect = self.rect(size);
        if !with_margin {
            return rect;
        }
        let all = rect.and(Rect::whole(size));
        let margin = (all.width.max(all.height) as f32 * MARGIN) as u32;
        Rect {
            x: all.x - margin as i32,
            y: all.y - margin as i32,
            width: all.width + 2 * margin,
            height: all.height + 2 * margin,
        }
    }
}

/// Two opposite sides of a frame around a picture of this length.
fn limited((start, end): (i32, i32), length: u32) -> (i32, i32) {
    let (length, least, most) = (length as i32, SIDE_PX_MIN.min(length) as i32, SIDE_PX_MAX as i32);
    let start = start.clamp(least - length, most.max(length) - least);
    // What is cut off at the start and at the end leaves `least`; what grows stays below `most`.
    let end = end.clamp(least - length - start.min(0), (most - length - start).max(least - length - start));
    (start, end)
}

fn pull((start, end): (i32, i32), direction: i8, by: f32, length: u32) -> (i32, i32) {
    let cell = SIDE_PX_MULTIPLE as f32;
    // The other side stays where it is, and the whole becomes a number of cells.
    let snapped = |side: i32, other: i32| {
        let whole = (length as f32 + other as f32 + side as f32 + by * f32::from(direction)) / cell;
        (whole.round() * cell) as i32 - length as i32 - other
    };
    match direction {
        -1 => (snapped(start, end), end),
        1 => (start, snapped(end, start)),
        _ => (start, end),
    }
}
