//! Attention without a matrix of scores (Dao et al. 2022; the running softmax is Milakov and Gimelshein's, 2018).
//!
//! Keys and values of some heads are packed as products read them, straight from where they lie among the other heads.
//! A task takes a few queries of one head past them, a block of keys at a time: scores, their exponentials under the
//! largest score so far, and the sum of the values that they weigh. Where one head's keys are more than fit into the
//! scratch memory they come in segments, between which the sums wait in the result.

use std::f64::consts::LOG2_E;
use std::mem::MaybeUninit;
use std::ops::Range;

use crate::math;
use crate::memory::{Output, Parts, with_scratch};
use crate::number::{Number, place_in_panel};
use crate::pack::PANEL;
use crate::pool;
use crate::simd::{self, Path, Simd, Work};
use crate::tile::{Rows, Sums};

/// Most queries of a task: whole tiles of every path.
const QUERIES_MAX: usize = 128;
/// Keys whose scores exist at once.
const KEYS: usize = 256;
/// Bytes of keys and values that are packed at once.
const PACKED_BYTES_MAX: usize = 16 << 20;

/// What attention is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Items.
    pub batch: usize,
    /// Queries of an item.
    pub queries: usize,
    /// Keys of an item, and values.
    pub keys: usize,
    /// Heads, whose channels lie side by side.
    pub heads: usize,
    /// Channels of a head.
    pub channels: usize,
    /// Whether query *i* sees keys `0..=i` only.
    pub causal: bool,
}

/// [`Kernels::attention`](crate::Kernels::attention)
pub(crate) fn attention<N: Number>(path: Path, q: &[N], k: &[N], v: &[N], shape: Attention) -> Vec<N> {
    let Attention { batch, queries, keys, heads, channels, .. } = shape;
    assert_eq!(q.len(), batch * queries * heads * channels, "queries have the size of their shape");
    assert!(keys > 0 && k.len() == batch * keys * heads * channels, "keys have the size of their shape");
    assert_eq!(v.len(), k.len(), "every key has a value");
    let mut output = Output::new(q.len());
    let call = Call { path, q, k, v, shape, output: output.parts() };
    let key_bytes = (call.depth() + channels.next_multiple_of(PANEL)) * size_of::<N>();
    let segment = (PACKED_BYTES_MAX / key_bytes / KEYS).max(1) * KEYS;
    let at_once = (PACKED_BYTES_MAX / (key_bytes * keys.next_multiple_of(PANEL))).clamp(1, batch * heads);
    for first in (0..batch * heads).step_by(at_once) {
        call.heads(first..(first + at_once).min(batch * heads), segment);
    }
    // SAFETY: every query of every head was finished.
    unsafe { output.written() }
}

struct Call<'a, N> {
    path: Path,
    q: &'a [N],
    k: &'a [N],
    v: &'a [N],
    shape: Attention,
    output: Parts<'a, MaybeUninit<N>>,
}

/// Keys and values of some heads, packed.
#[derive(Clone, Copy)]
struct Packed<'a, N> {
    /// `[head, key / PANEL, channel, PANEL]`, channels filled up to [`Call::depth`].
    keys: &'a [N],
    /// `[head, channel / PANEL, key, PANEL]`, keys filled up to [`Number::DEPTH_STEP`].
    values: &'a [N],
    /// Which keys of an item they are.
    range: [usize; 2],
}

/// What the queries of some heads have found in the segments of keys so far.
#[derive(Clone, Copy)]
struct Found<'a> {
    /// For each query the largest score, in powers of two, and the sum of all weights.
    states: Parts<'a, f32>,
    /// The values under their weights, `[head, query, channel]`; nothing where one segment has all keys.
    sums: Parts<'a, f32>,
}

impl<N: Number> Call<'_, N> {
    /// Channels of a head, filled up to what products take at once.
    #[inline(always)]
    fn depth(&self) -> usize {
        self.shape.channels.next_multiple_of(N::DEPTH_STEP)
    }

    /// Computes `heads`, counted over all items, with `segment` keys at a time.
    fn heads(&self, heads: Range<usize>, segment: usize) {
        let Attention { queries, keys, channels, .. } = self.shape;
        // Whole panels, which are whole steps as well.
        let packed_keys = segment.min(keys.next_multiple_of(PANEL));
        let key_numbers = packed_keys * self.depth();
        let value_numbers = packed_keys * channels.next_multiple_of(PANEL);
        let blocks = queries.div_ceil(QUERIES_MAX);
        let waiting = if keys > segment { queries * channels * heads.len() } else { 0 };
        with_scratch::<N, _>((key_numbers + value_numbers) * heads.len(), |packed| {
            let (packed_k, packed_v) = packed.split_at_mut(key_numbers * heads.len());
            with_scratch::<f32, _>(2 * queries * heads.len() + waiting, |found| {
                let (states, sums) = found.split_at_mut(2 * queries * heads.len());
                let found = Found { states: Parts::of(states), sums: Parts::of(sums) };
                for start in (0..keys).step_by(segment) {
                    let range = [start, (start + segment).min(keys)];
                    self.pack(&heads, range, packed_k, packed_v);
                    let packed = Packed { keys: packed_k, values: packed_v, range };
                    pool::each(heads.len() * blocks, |task| {
                        let (at, block) = (task / blocks, task % blocks);
                        let own = queries * block / blocks..queries * (block + 1) / blocks;
                        let first = at * queries + own.start;
                        let waiting = if waiting > 0 { channels } else { 0 };
                        // SAFETY: every task has its own queries of a head.
                        let (state, kept) = unsafe {
                            let sums = found.sums.part(waiting * first, waiting * own.len());
                            (found.states.part(2 * first, 2 * own.len()), sums)
                        };
                        self.path.run(Task {
                            call: self,
                            head: heads.start + at,
                            at,
                            queries: own,
                            packed,
                            state,
                            kept,
                        });
                    });
                }
            });
        });
    }

    /// Packs the keys and values `range` of `heads`.
    fn pack(&self, heads: &Range<usize>, [start, end]: [usize; 2], packed_k: &mut [N], packed_v: &mut [N]) {
        let Attention { heads: all, channels, .. } = self.shape;
        let (depth, count) = (self.depth(), (end - start).next_multiple_of(N::DEPTH_STEP));
        let (key_panels, value_panels) = ((end - start).div_ceil(PANEL), channels.div_ceil(PANEL));
        let (k_parts, v_parts) = (Parts::of(packed_k), Parts::of(packed_v));
        pool::each(heads.len() * key_panels, |task| {
            let (at, panel) = (task / key_panels, task % key_panels);
            let (item, head) = ((heads.start + at) / all, (heads.start + at) % all);
            let first = panel * PANEL;
            let width = PANEL.min(end - start - first);
            let token = |key: usize| ((item * self.shape.keys + start + key) * all + head) * channels;
            // SAFETY: every task has its own keys of a head.
            let to = unsafe { k_parts.part((at * key_panels + panel) * PANEL * depth, PANEL * depth) };
            if width < PANEL || depth > channels {
                to.fill(N::default());
            }
            for key in 0..width {
                for (channel, number) in self.k[token(first + key)..][..channels].iter().enumerate() {
                    to[place_in_panel::<N>(channel, key)] = *number;
                }
            }
            let rows = PANEL.min(count - first);
            for value_panel in 0..value_panels {
                let place = ((at * value_panels + value_panel) * count + first) * PANEL;
                // SAFETY: as above.
                let to = unsafe { v_parts.part(place, rows * PANEL) };
                let filled = PANEL.min(channels - value_panel * PANEL);
                if width < rows || filled < PANEL {
                    to.fill(N::default());
                }
                for key in 0..width {
                    let from = &self.v[token(first + key) + value_panel * PANEL..][..filled];
                    for (channel, number) in from.iter().enumerate() {
                        to[place_in_panel::<N>(key, channel)] = *number;
                    }
                }
            }
        });
    }
}

/// Some queries of one head.
struct Task<'a, N> {
    call: &'a Call<'a, N>,
    /// Counted over all items.
    head: usize,
    /// Its place among those that are packed.
    at: usize,
    queries: Range<usize>,
    packed: Packed<'a, N>,
    /// See [`Found::states`].
    state: &'a mut [f32],
    /// See [`Found::sums`].
    kept: &'a mut [f32],
}

/// Scratch memory of a task, in lines of fixed lengths.
struct Scratch<'a, N> {
    /// `[query, Call::depth]`
    queries: &'a mut [N],
    /// `[query, KEYS]`
    weights: &'a mut [N],
    weight_line: usize,
    /// `[query, KEYS]`
    scores: &'a mut [f32],
    score_line: usize,
    /// `[query, channel]`
    sums: &'a mut [f32],
    sum_line: usize,
}

impl<N: Number> Work for Task<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Attention { keys, channels, causal, .. } = self.call.shape;
        let depth = self.call.depth();
        let [start, end] = self.packed.range;
        let rows = self.queries.len().next_multiple_of(N::TILE_ROWS);
        let (weight_line, score_line, sum_line) = (KEYS + PANEL, KEYS + PANEL / 2, channels.next_multiple_of(PANEL));
        // Keys behind the last query are seen by none.
        let seen = if causal { end.min(self.queries.end).max(start) } else { end };
        with_scratch::<N, _>(
            rows * (depth + weight_line),
            #[inline(always)]
            |factors| {
                let (queries, weights) = factors.split_at_mut(rows * depth);
                with_scratch::<f32, _>(
                    rows * (score_line + sum_line),
                    #[inline(always)]
                    |sums| {
                        let (scores, sums) = sums.split_at_mut(rows * score_line);
                        let mut to = Scratch { queries, weights, weight_line, scores, score_line, sums, sum_line };
                        self.begin(start == 0, &mut to);
                        for first in (start..seen).step_by(KEYS) {
                            let block = first..(first + KEYS).min(seen);
                            self.score(simd, &block, &mut to);
                            for row in 0..self.queries.len() {
                                self.weigh(simd, row, &block, &mut to);
                            }
                            self.sum(simd, &block, &mut to);
                        }
                        self.end(simd, end == keys, &to);
                    },
                );
            },
        );
    }
}

impl<N: Number> Task<'_, N> {
    /// Where a query lies among all.
    #[inline(always)]
    fn place(&self, row: usize) -> usize {
        let Attention { queries, heads, channels, .. } = self.call.shape;
        let (item, head) = (self.head / heads, self.head % heads);
        ((item * queries + self.queries.start + row) * heads + head) * channels
    }

    #[inline(always)]
    fn begin(&mut self, is_first: bool, to: &mut Scratch<N>) {
        let channels = self.call.shape.channels;
        for (row, to) in (0..self.queries.len()).zip(to.queries.chunks_exact_mut(self.call.depth())) {
            to[..channels].copy_from_slice(&self.call.q[self.place(row)..][..channels]);
            to[channels..].fill(N::default());
        }
        to.sums.fill(0.0);
        if is_first {
            self.state.chunks_exact_mut(2).for_each(|state| state.copy_from_slice(&[f32::NEG_INFINITY, 0.0]));
            return;
        }
        for (sums, kept) in to.sums.chunks_exact_mut(to.sum_line).zip(self.kept.chunks_exact(channels)) {
            sums[..channels].copy_from_slice(kept);
        }
    }

    /// The scores of the keys `block`, not yet scaled.
    #[inline(always)]
    fn score<S: Simd>(&self, simd: S, block: &Range<usize>, to: &mut Scratch<N>) {
        let depth = self.call.depth();
        let [start, end] = self.packed.range;
        let panels = (end - start).div_ceil(PANEL);
        let rows = Rows { start: to.queries.as_ptr(), distance: depth, count: self.queries.len() };
        for first in block.clone().step_by(PANEL) {
            let panel = &self.packed.keys[(self.at * panels + (first - start) / PANEL) * PANEL * depth..];
            let start = to.scores[first - block.start..].as_mut_ptr();
            let columns = (block.end - first).min(PANEL);
            let ahead = panel.as_ptr().wrapping_add(PANEL * depth).cast();
            let sums = Sums { start, distance: to.score_line, columns, added: false, ahead };
            // SAFETY: queries have `depth` numbers, the panel as many rows, and a line of scores is wide enough for the
            // panels of a block; there are whole tiles of both.
            unsafe { N::multiply(simd, self.call.path, depth, rows, panel.as_ptr(), sums) }
        }
    }

    /// Turns the scores of a query into weights, and scales what it has summed up to their largest score.
    #[inline(always)]
    fn weigh<S: Simd>(&mut self, simd: S, row: usize, block: &Range<usize>, to: &mut Scratch<N>) {
        let Attention { channels, causal, .. } = self.call.shape;
        let query = self.queries.start + row;
        let seen = if causal { (query + 1).clamp(block.start, block.end) } else { block.end } - block.start;
        let weights = &mut to.weights[row * to.weight_line..][..to.weight_line];
        let hidden = seen..block.len().next_multiple_of(N::DEPTH_STEP);
        if seen == 0 {
            return weights[hidden].fill(N::default());
        }
        // Scores of nothing fill up the last vector.
        let scores = &mut to.scores[row * to.score_line..][..to.score_line];
        let whole = seen.next_multiple_of(S::LANES);
        scores[seen..whole].fill(f32::NEG_INFINITY);
        let scores = &scores[..whole];
        let scale = (LOG2_E / (channels as f64).sqrt()) as f32;
        let (before, total) = (self.state[2 * row], self.state[2 * row + 1]);
        let now = before.max(largest(simd, scores) * scale);
        let [scale, behind] = [scale, -now].map(|x| simd.splat(x));
        let mut sum = simd.splat(0.0);
        for (scores, weights) in scores.chunks_exact(S::LANES).zip(weights.chunks_exact_mut(S::LANES)) {
            // SAFETY: both are LANES numbers long.
            unsafe {
                let weight = math::exp2::<N, S>(simd, simd.mul_add(simd.load(scores.as_ptr()), scale, behind));
                sum = simd.add(sum, weight);
                N::store(simd, weights.as_mut_ptr(), weight);
            }
        }
        weights[hidden].fill(N::default());
        let sum = simd.sum(sum);
        let factor = simd.to_array(math::exp2::<N, S>(simd, simd.splat(before - now)))[0];
        self.state[2 * row] = now;
        self.state[2 * row + 1] = total * factor + sum;
        if factor != 1.0 {
            simd::change(
                simd,
                &mut to.sums[row * to.sum_line..][..to.sum_line],
                #[inline(always)]
                |_, x| simd.mul(x, simd.splat(factor)),
            );
        }
    }

    /// Adds the values of the keys `block` under their weights.
    #[inline(always)]
    fn sum<S: Simd>(&self, simd: S, block: &Range<usize>, to: &mut Scratch<N>) {
        let channels = self.call.shape.channels;
        let [start, end] = self.packed.range;
        let (count, panels) = ((end - start).next_multiple_of(N::DEPTH_STEP), channels.div_ceil(PANEL));
        let rows = Rows { start: to.weights.as_ptr(), distance: to.weight_line, count: self.queries.len() };
        let depth = block.len().next_multiple_of(N::DEPTH_STEP);
        for panel in 0..panels {
            let place = ((self.at * panels + panel) * count + block.start - start) * PANEL;
            let columns = (channels - panel * PANEL).min(PANEL);
            let start = to.sums[panel * PANEL..].as_mut_ptr();
            let values = self.packed.values[place..].as_ptr();
            let ahead = values.wrapping_add(count * PANEL).cast();
            let sums = Sums { start, distance: to.sum_line, columns, added: true, ahead };
            // SAFETY: a line of weights has those of the block, the panel a row for each key, and a line of sums is whole
            // panels wide; there are whole tiles of both.
            unsafe { N::multiply(simd, self.call.path, depth, rows, values, sums) }
        }
    }

    /// Writes what was summed up, divided by the sum of all weights, if all keys were there; keeps it otherwise.
    #[inline(always)]
    fn end<S: Simd>(&mut self, simd: S, is_last: bool, from: &Scratch<N>) {
        let channels = self.call.shape.channels;
        for (row, sums) in (0..self.queries.len()).zip(from.sums.chunks_exact(from.sum_line)) {
            if !is_last {
                self.kept[row * channels..][..channels].copy_from_slice(&sums[..channels]);
                continue;
            }
            // SAFETY: the queries are this task's own.
            let to = unsafe { self.call.output.part(self.place(row), channels) };
            let share = simd.splat(1.0 / self.state[2 * row + 1]);
            simd::fill(
                simd,
                to,
                #[inline(always)]
                |at| simd.mul(simd::at(simd, sums, at), share),
            );
        }
    }
}

/// The largest of whole vectors of numbers; several are looked for at once, since each comparison waits for the one before.
#[inline(always)]
fn largest<S: Simd>(simd: S, x: &[f32]) -> f32 {
    const AT_ONCE: usize = 4;
    let mut found = [simd.splat(f32::NEG_INFINITY); AT_ONCE];
    let mut chunks = x.chunks_exact(AT_ONCE * S::LANES);
    for chunk in &mut chunks {
        for (at, found) in found.iter_mut().enumerate() {
            // SAFETY: a chunk has so many numbers.
            *found = simd.max(unsafe { simd.load(chunk.as_ptr().add(at * S::LANES)) }, *found);
        }
    }
    simd::each(
        simd,
        chunks.remainder(),
        #[inline(always)]
        |x| found[0] = simd.max(x, found[0]),
    );
    simd.largest(simd.max(simd.max(found[0], found[1]), simd.max(found[2], found[3])))
}
