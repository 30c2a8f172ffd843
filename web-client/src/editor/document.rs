//! Edits that can be undone, and the mask and the frame that follow from them.

use super::frame::{Frame, Rect};
use super::kept;
use super::mask::{Ink, Mask, Point};

/// Edits between two copies of the mask, from which undoing draws on.
const COPY_EVERY: usize = 32;
/// Copies that are held; each has a byte for every pixel of the picture.
const COPIES_MAX: usize = 4;

/// What a pointer drew between its press and its release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stroke {
    /// What it leaves.
    pub ink: Ink,
    /// Where it was.
    pub points: Vec<Point>,
}

/// What one undo takes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A stroke of the brush.
    Stroke(Stroke),
    /// An area at once.
    Fill(Ink, Rect),
    /// What was kept is drawn anew, and the other way round.
    Invert,
    /// Another frame.
    Frame(Frame),
}

/// A mask and a frame over a picture.
#[derive(Clone, Debug)]
pub struct Document {
    size: (u32, u32),
    edits: Vec<Edit>,
    /// Those before this one count; the others can be redone.
    done: usize,
    mask: Mask,
    frame: Frame,
    stroke: Option<Stroke>,
    copies: Vec<(usize, Mask)>,
    changed: Rect,
    revision: u64,
}

impl Document {
    /// A picture as it is: nothing masked, nothing cut off.
    pub fn new(size: (u32, u32)) -> Self {
        Self {
            size,
            edits: Vec::new(),
            done: 0,
            mask: Mask::new(size),
            frame: Frame::default(),
            stroke: None,
            copies: Vec::new(),
            changed: Rect::whole(size),
            revision: 0,
        }
    }

    /// The document of an earlier visit, over the same picture.
    pub fn restored(size: (u32, u32), kept: &str) -> Self {
        let mut document = Self::new(size);
        (document.edits, document.done) = kept::read(kept);
        document.replay();
        document
    }

    /// What the next visit needs: the edits, of which all else follows.
    pub fn kept(&self) -> String {
        kept::write(&self.edits, self.done)
    }

    /// Width and height of the picture, in px.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Where the picture is drawn anew.
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// The frame, also while it is pulled.
    pub fn frame(&self) -> Frame {
        self.frame
    }

    /// Rises with every edit that is finished, undone or redone: what was made of an older one is out of date.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The part of the mask that changed since it was last asked.
    pub fn take_changed(&mut self) -> Rect {
        std::mem::take(&mut self.changed)
    }

    /// Says that whoever shows the mask has forgotten it.
    pub fn show_again(&mut self) {
        self.changed = Rect::whole(self.size);
    }

    /// Whether there is something to undo.
    pub fn can_undo(&self) -> bool {
        self.done > 0
    }

    /// Whether there is something to redo.
    pub fn can_redo(&self) -> bool {
        self.done < self.edits.len()
    }
}

/// What people do.
impl Document {
    /// The pointer goes down.
    pub fn press(&mut self, ink: Ink, at: Point) {
        self.release();
        self.stroke = Some(Stroke { ink, points: Vec::new() });
        self.draw(at);
    }

    /// The pointer moves; nothing happens while it is not down.
    pub fn draw(&mut self, to: Point) {
        let Some(stroke) = &mut self.stroke else { return };
        let from = stroke.points.last().copied();
        if from != Some(to) {
            stroke.points.push(to);
            self.changed = self.changed.and(self.mask.draw(from.unwrap_or(to), to, stroke.ink));
        }
    }

    /// The pointer goes up: the stroke is an edit now.
    pub fn release(&mut self) {
        if let Some(stroke) = self.stroke.take() {
            self.record(Edit::Stroke(stroke));
        }
    }

    /// Shows another frame, which is an edit only once it is let go.
    pub fn pull(&mut self, frame: Frame) {
        self.frame = frame.limited(self.size);
    }

    /// Does something at once.
    pub fn apply(&mut self, edit: Edit) {
        self.release();
        let edit = match edit {
            Edit::Frame(frame) => Edit::Frame(frame.limited(self.size)),
            edit => edit,
        };
        if edit == Edit::Frame(self.recorded_frame()) {
            return;
        }
        self.perform(&edit);
        self.record(edit);
    }

    /// Takes the newest edit back.
    pub fn undo(&mut self) {
        self.release();
        if self.can_undo() {
            self.done -= 1;
            self.replay();
        }
    }

    /// Does again what was undone last.
    pub fn redo(&mut self) {
        self.release();
        if self.can_redo() {
            let edit = self.edits[self.done].clone();
            self.perform(&edit);
            self.done += 1;
            self.revision += 1;
        }
    }

    /// Appends what has been performed.
    fn record(&mut self, edit: Edit) {
        self.edits.truncate(self.done);
        self.edits.push(edit);
        self.done += 1;
        self.revision += 1;
        self.copies.retain(|(at, _)| *at < self.done);
        if self.done.is_multiple_of(COPY_EVERY) {
            self.copies.push((self.done, self.mask.clone()));
            if self.copies.len() > COPIES_MAX {
                self.copies.remove(0);
            }
        }
    }

    /// The mask and the frame of the edits that count.
    fn replay(&mut self) {
        let copy = self.copies.iter().rev().find(|(at, _)| *at <= self.done);
        let (from, mask) = copy.cloned().unwrap_or_else(|| (0, Mask::new(self.size)));
        self.mask = mask;
        self.frame = self.recorded_frame();
        let edits = std::mem::take(&mut self.edits);
        edits[from..self.done].iter().for_each(|edit| self.perform(edit));
        self.edits = edits;
        self.changed = Rect::whole(self.size);
        self.revision += 1;
    }

    fn recorded_frame(&self) -> Frame {
        let frame = |edit: &Edit| if let Edit::Frame(frame) = edit { Some(*frame) } else { None };
        self.edits[..self.done].iter().rev().find_map(frame).unwrap_or_default()
    }

    fn perform(&mut self, edit: &Edit) {
        let changed = match edit {
            Edit::Stroke(stroke) => {
                let points = &stroke.points;
                let ends = points.first().into_iter().chain(points).zip(points);
                ends.fold(Rect::default(), |part, (&from, &to)| part.and(self.mask.draw(from, to, stroke.ink)))
            }
            Edit::Fill(ink, part) => self.mask.fill(*part, *ink),
            Edit::Invert => self.mask.invert(),
            Edit::Frame(frame) => {
                self.frame = *frame;
                Rect::default()
            }
        };
        self.changed = self.changed.and(changed);
    }
}
