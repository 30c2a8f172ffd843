//! Memory that lies where vectors like it, that is used again, and that threads share.

use std::alloc::{self, Layout};
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::Arc;

use crate::number::Number;

/// A line of the cache.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; LINE_BYTES]);

/// Bytes of a line of the cache.
pub(crate) const LINE_BYTES: usize = 64;

/// Memory that begins at a line of the cache, for numbers of any type.
#[derive(Default)]
pub(crate) struct Buffer(Vec<Line>);

impl Buffer {
    /// Room for `len` numbers, which are zeros. Pages that the system gives are zeros already, and are left to the threads
    /// that write to them first.
    pub(crate) fn zeros<N: Number>(len: usize) -> Self {
        let lines = (len * size_of::<N>()).div_ceil(LINE_BYTES);
        if lines == 0 {
            return Self::default();
        }
        let layout = Layout::array::<Line>(lines).expect("memory is no larger than what is addressed");
        // SAFETY: there is at least one line.
        let start: *mut Line = unsafe { alloc::alloc_zeroed(layout) }.cast();
        if start.is_null() {
            alloc::handle_alloc_error(layout)
        }
        // SAFETY: the allocator that vectors use gave so many lines, and a line may be zeros.
        let memory = unsafe { Vec::from_raw_parts(start, lines, lines) };
        advise(&memory);
        Self(memory)
    }

    /// The numbers, filled up to whole lines.
    pub(crate) fn as_slice<N: Number>(&self) -> &[N] {
        let len = self.0.len() * LINE_BYTES / size_of::<N>();
        // SAFETY: the lines are that many numbers long and begin where numbers may; any bits are a number.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), len) }
    }

    /// As [`Self::as_slice`].
    pub(crate) fn as_mut_slice<N: Number>(&mut self) -> &mut [N] {
        let len = self.0.len() * LINE_BYTES / size_of::<N>();
        // SAFETY: as above, and any number leaves bytes behind.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), len) }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: a line is so many bytes and nothing else.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LINE_BYTES) }
    }
}

/// Bytes with several owners, such as those of a mapped file.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Numbers that are only read, from the beginning of a line of the cache on.
pub(crate) enum Memory {
    Owned(Buffer),
    /// `len` bytes from `start`.
    Shared {
        bytes: SharedBytes,
        start: usize,
        len: usize,
    },
}

impl Memory {
    /// `len` of the bytes from `start`, where they are there and begin at a line of the cache.
    pub(crate) fn shared(bytes: SharedBytes, start: usize, len: usize) -> Option<Self> {
        let part = (*bytes).as_ref().get(start..start.checked_add(len)?)?;
        let fits = part.as_ptr().addr().is_multiple_of(LINE_BYTES);
        fits.then_some(Self::Shared { bytes, start, len })
    }

    /// The numbers; those of a buffer are filled up to whole lines.
    #[inline(always)]
    pub(crate) fn as_slice<N: Number>(&self) -> &[N] {
        match self {
            Self::Owned(buffer) => buffer.as_slice(),
            Self::Shared { .. } => {
                // SAFETY: any bits are a number.
                let (before, numbers, _) = unsafe { self.bytes().align_to() };
                assert!(before.is_empty(), "shared bytes stay where they are");
                numbers
            }
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(buffer) => buffer.bytes(),
            Self::Shared { bytes, start, len } => &(**bytes).as_ref()[*start..][..*len],
        }
    }
}

/// Memory from which on the system is asked for large pages.
#[cfg(all(target_os = "linux", not(miri)))]
const LARGE_BYTES: usize = 4 << 20;

/// Asks the system to back large memory that was never touched with large pages: fewer of them are made ready and looked
/// up. It may refuse, and then pages are small.
#[cfg(all(target_os = "linux", not(miri)))]
fn advise<T>(memory: &Vec<T>) {
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

/// Other systems choose by themselves.
#[cfg(not(all(target_os = "linux", not(miri))))]
fn advise<T>(_: &Vec<T>) {}

thread_local! {
    /// The first for a kernel, the next for a task of it that the same thread runs.
    static SCRATCH: Cell<Vec<Buffer>> = Cell::default();
}

/// Calls `f` with `len` numbers of the thread's own scratch memory, which hold anything.
///
/// What a thread once needed it keeps, so that a kernel allocates nothing on its second call.
#[inline(always)]
pub(crate) fn with_scratch<N: Number, T>(len: usize, f: impl FnOnce(&mut [N]) -> T) -> T {
    let mut kept = SCRATCH.take();
    let mut buffer = kept.pop().unwrap_or_default();
    SCRATCH.set(kept);
    if buffer.as_slice::<N>().len() < len {
        buffer = Buffer::zeros::<N>(len);
    }
    let value = f(&mut buffer.as_mut_slice()[..len]);
    let mut kept = SCRATCH.take();
    kept.push(buffer);
    SCRATCH.set(kept);
    value
}

/// Room for `len` numbers that a kernel writes, every one of them, from several threads.
pub(crate) struct Output<N> {
    numbers: Vec<N>,
    len: usize,
}

impl<N> Output<N> {
    pub(crate) fn new(len: usize) -> Self {
        let numbers = Vec::with_capacity(len);
        advise(&numbers);
        Self { numbers, len }
    }

    pub(crate) fn parts(&mut self) -> Parts<'_, MaybeUninit<N>> {
        Parts::of(&mut self.numbers.spare_capacity_mut()[..self.len])
    }

    /// The numbers.
    ///
    /// # Safety
    /// Every one of them was written through [`Self::parts`].
    pub(crate) unsafe fn written(mut self) -> Vec<N> {
        // SAFETY: the memory was asked for in `new` and written, as the caller promises.
        unsafe { self.numbers.set_len(self.len) }
        self.numbers
    }
}

/// The right to write to disjoint parts of a slice from several threads.
pub(crate) struct Parts<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

impl<T> Clone for Parts<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Parts<'_, T> {}

// SAFETY: it gives access through `part` alone, whose callers promise that no two parts overlap.
unsafe impl<T: Send> Send for Parts<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    /// The parts of `slice`.
    pub(crate) fn of(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// `len` of its elements from `start`.
    ///
    /// # Safety
    /// No two parts that are alive at once overlap.
    #[inline(always)]
    pub(crate) unsafe fn part(self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start <= self.len && len <= self.len - start, "a part lies in its whole");
        // SAFETY: it lies in the slice, which is borrowed for as long, and of which no other part is this one.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}
