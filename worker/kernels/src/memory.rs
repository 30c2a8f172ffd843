//! Memory that lies where vectors like it, and that is used again.

use std::cell::Cell;

/// A line of the cache.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

const LINE: usize = 16;

/// Numbers that begin at a line of the cache.
#[derive(Default)]
pub(crate) struct Buffer(Vec<Line>);

impl Buffer {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let lines = len.div_ceil(LINE);
        let mut memory = Vec::with_capacity(lines);
        advise(&memory);
        memory.resize(lines, Line([0.0; LINE]));
        Self(memory)
    }

    /// The numbers, filled up to whole lines.
    pub(crate) fn as_slice(&self) -> &[f32] {
        // SAFETY: a line is LINE numbers and nothing else, as its size says.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LINE) }
    }

    /// As [`Self::as_slice`].
    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        let len = self.0.len() * LINE;
        // SAFETY: a line is LINE numbers and nothing else, as its size says.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), len) }
    }

    fn grow(&mut self, len: usize) {
        if self.0.len() * LINE < len {
            *self = Self::zeros(len);
        }
    }
}

const _: () = assert!(size_of::<Line>() == LINE * size_of::<f32>());

/// Memory from which on the system is asked for large pages.
const LARGE_BYTES: usize = 4 << 20;

/// Asks the system to back large memory that was never touched with large pages: fewer of them are made ready and looked
/// up. It may refuse, and then pages are small.
fn advise<T>(memory: &Vec<T>) {
    #[cfg(target_os = "linux")]
    if memory.capacity() * size_of::<T>() >= LARGE_BYTES {
        let page = rustix::param::page_size();
        let start = memory.as_ptr().addr().next_multiple_of(page);
        let end = (memory.as_ptr().addr() + memory.capacity() * size_of::<T>()) / page * page;
        let start_of_page = memory.as_ptr().with_addr(start).cast_mut().cast();
        let advice = rustix::mm::Advice::LinuxHugepage;
        // SAFETY: whole pages of memory that `memory` owns, which keep what they hold.
        // A refusal changes nothing but the time that it takes.
        unsafe { rustix::mm::madvise(start_of_page, end - start, advice) }.ok();
    }
}

thread_local! {
    /// The first for a kernel, the next for a task of it that the same thread runs.
    static SCRATCH: Cell<Vec<Buffer>> = Cell::default();
}

/// Calls `f` with `len` numbers of the thread's own scratch memory, which hold anything.
///
/// What a thread once needed it keeps, so that a kernel allocates nothing on its second call.
#[inline(always)]
pub(crate) fn with_scratch<T>(len: usize, f: impl FnOnce(&mut [f32]) -> T) -> T {
    let mut kept = SCRATCH.take();
    let mut buffer = kept.pop().unwrap_or_default();
    SCRATCH.set(kept);
    buffer.grow(len);
    let value = f(&mut buffer.as_mut_slice()[..len]);
    let mut kept = SCRATCH.take();
    kept.push(buffer);
    SCRATCH.set(kept);
    value
}

/// Room for `len` numbers that a kernel writes, every one of them, from several threads.
pub(crate) struct Output {
    numbers: Vec<f32>,
    len: usize,
}

/// The right to write to disjoint parts of an [`Output`].
#[derive(Clone, Copy)]
pub(crate) struct Parts {
    start: *mut f32,
    len: usize,
}

// SAFETY: it gives access through `part` alone, whose callers promise that no two parts overlap.
unsafe impl Send for Parts {}
// SAFETY: as above.
unsafe impl Sync for Parts {}

impl Output {
    pub(crate) fn new(len: usize) -> Self {
        let numbers = Vec::with_capacity(len);
        advise(&numbers);
        Self { numbers, len }
    }

    pub(crate) fn parts(&mut self) -> Parts {
        Parts { start: self.numbers.as_mut_ptr(), len: self.len }
    }

    /// The parts of memory that is there.
    pub(crate) fn parts_of(numbers: &mut [f32]) -> Parts {
        Parts { start: numbers.as_mut_ptr(), len: numbers.len() }
    }

    /// The numbers.
    ///
    /// # Safety
    /// Every one of them was written through [`Self::parts`].
    pub(crate) unsafe fn written(mut self) -> Vec<f32> {
        // SAFETY: the memory was asked for in `new` and written, as the caller promises.
        unsafe { self.numbers.set_len(self.len) }
        self.numbers
    }
}

impl Parts {
    /// `len` numbers from `start`, which hold anything before they are written.
    ///
    /// # Safety
    /// The output is there, and no two parts that are alive at once overlap.
    #[inline(always)]
    pub(crate) unsafe fn part<'a>(self, start: usize, len: usize) -> &'a mut [f32] {
        assert!(start <= self.len && len <= self.len - start, "a part lies in its output");
        // SAFETY: it lies in the output's memory, of which no other part is this one.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}
