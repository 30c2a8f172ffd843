//! Attention without a matrix of scores (Dao et al. 2022; the running softmax is Milakov and Gimelshein's, 2018).
//!
//! Keys and values of some heads are packed as products read them, straight from where they lie among the other heads.
//! A task takes a few queries of one head past them, a block of keys at a time: scores, their exponentials under the
//! largest score so far, and the sum of the values that they weigh. Where one head's keys are more than fit into the
//! scratch memory they come in segments, between which the sums wait in the result.

use std::f64::consts::LOG2_E;
use std::ops::Range;

use crate::math;
use crate::memory::{Output, Parts, with_scratch};
use crate::pack::PANEL;
use crate::pool;
use crate::simd::{self, Path, Simd, Work};
use crate::tile::{Rows, Sums, multiply};

/// Most queries of a task.
const QUERIES_MAX: usize = 112;
/// Keys whose scores exist at once.
const KEYS: usize = 512;
/// Numbers of keys and values that are packed at once.
const PACKED_MAX: usize = 4 << 20;

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

/// `softmax(q · kᵀ / √channels) · v` for every head: `q` is `[batch, queries, heads · channels]`, `k` and `v` are
/// `[batch, keys, heads · channels]`, the result has the shape of `q`.
///
/// # Panics
/// When a size is another one, or there are no keys.
pub fn attention(path: Path, q: &[f32], k: &[f32], v: &[f32], shape: Attention) -> Vec<f32> {
    let Attention { batch, queries, keys, heads, channels, .. } = shape;
    assert_eq!(q.len(), batch * queries * heads * channels, "queries have the size of their shape");
    assert!(keys > 0 && k.len() == batch * keys * heads * channels, "keys have the size of their shape");
    assert_eq!(v.len(), k.len(), "every key has a value");
    let mut output = Output::new(q.len());
    let call = Call { path, q, k, v, shape, output: output.parts() };
    let key_size = channels + channels.next_multiple_of(PANEL);
    let segment = (PACKED_MAX / key_size / KEYS).max(1) * KEYS;
    let at_once = (PACKED_MAX / (key_size * keys.next_multiple_of(PANEL))).clamp(1, batch * heads);
    for first in (0..batch * heads).step_by(at_once) {
        call.heads(first..(first + at_once).min(batch * heads), segment);
    }
    // SAFETY: every query of every head was finished.
    unsafe { output.written() }
}

struct Call<'a> {
    path: Path,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    shape: Attention,
    output: Parts,
}

/// Keys and values of some heads, packed.
#[derive(Clone, Copy)]
struct Packed<'a> {
    /// `[head, key / PANEL, channel, PANEL]`
    keys: &'a [f32],
    /// `[head, channel / PANEL, key, PANEL]`
    values: &'a [f32],
    /// Which keys of an item they are.
    range: [usize; 2],
}

impl Call<'_> {
    /// Computes `heads`, counted over all items, with `segment` keys at a time.
    fn heads(&self, heads: Range<usize>, segment: usize) {
        let Attention { queries, keys, channels, .. } = self.shape;
        let packed_keys = segment.min(keys.next_multiple_of(PANEL));
        let key_numbers = packed_keys * channels;
        let value_numbers = packed_keys * channels.next_multiple_of(PANEL);
        let blocks = queries.div_ceil(QUERIES_MAX);
        let states = 2 * queries * heads.len();
        with_scratch((key_numbers + value_numbers) * heads.len() + states, |scratch| {
            let (packed_k, rest) = scratch.split_at_mut(key_numbers * heads.len());
            let (packed_v, states) = rest.split_at_mut(value_numbers * heads.len());
            let states = Output::parts_of(states);
            for start in (0..keys).step_by(segment) {
                let range = [start, (start + segment).min(keys)];
                self.pack(&heads, range, packed_k, packed_v);
                let packed = Packed { keys: packed_k, values: packed_v, range };
                pool::each(heads.len() * blocks, |task| {
                    let (at, block) = (task / blocks, task % blocks);
                    let queries = queries * block / blocks..queries * (block + 1) / blocks;
                    // SAFETY: the scratch memory is there, and every task has its own queries of a head.
                    let state =
                        unsafe { states.part(2 * (at * self.shape.queries + queries.start), 2 * queries.len()) };
                    self.path.run(Task { call: self, head: heads.start + at, at, queries, packed, state });
                });
            }
        });
    }

    /// Packs the keys and values `range` of `heads`.
    fn pack(&self, heads: &Range<usize>, [start, end]: [usize; 2], packed_k: &mut [f32], packed_v: &mut [f32]) {
        let Attention { heads: all, channels, .. } = self.shape;
        let count = end - start;
        let (key_panels, value_panels) = (count.div_ceil(PANEL), channels.div_ceil(PANEL));
        let (k_parts, v_parts) = (Output::parts_of(packed_k), Output::parts_of(packed_v));
        pool::each(heads.len() * key_panels, |task| {
            let (at, panel) = (task / key_panels, task % key_panels);
            let (item, head) = ((heads.start + at) / all, (heads.start + at) % all);
            let first = panel * PANEL;
            let width = PANEL.min(count - first);
            let token = |key: usize| ((item * self.shape.keys + start + key) * all + head) * channels;
            // SAFETY: the scratch memory is there, and every task has its own keys of a head.
            let to = unsafe { k_parts.part((at * key_panels + panel) * PANEL * channels, PANEL * channels) };
            if width < PANEL {
                to.fill(0.0);
            }
            for key in 0..width {
                let from = &self.k[token(first + key)..][..channels];
                for (to, number) in to.chunks_exact_mut(PANEL).zip(from) {
                    to[key] = *number;
                }
            }
            for value_panel in 0..value_panels {
                let place = ((at * value_panels + value_panel) * count + first) * PANEL;
                // SAFETY: as above.
                let to = unsafe { v_parts.part(place, width * PANEL) };
                for (key, to) in to.chunks_exact_mut(PANEL).enumerate() {
                    let from = &self.v[token(first + key)..][..channels][value_panel * PANEL..];
                    let filled = from.len().min(PANEL);
                    to[..filled].copy_from_slice(&from[..filled]);
                    to[filled..].fill(0.0);
                }
            }
        });
    }
}

/// Some queries of one head.
struct Task<'a> {
    call: &'a Call<'a>,
    /// Counted over all items.
    head: usize,
    /// Its place among those that are packed.
    at: usize,
    queries: Range<usize>,
    packed: Packed<'a>,
    /// For each query the largest score so far, in powers of two, and the sum of all weights.
    state: &'a mut [f32],
}

impl Work for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let Attention { keys, channels, causal, .. } = self.call.shape;
        let [start, end] = self.packed.range;
        let rows = self.queries.len();
        let (score_line, sum_line) = (KEYS + PANEL / 2, channels.next_multiple_of(PANEL));
        // Keys behind the last query are seen by none.
        let seen = if causal { end.min(self.queries.end).max(start) } else { end };
        with_scratch(
            rows * (score_line + sum_line),
            #[inline(always)]
            |scratch| {
                let (scores, sums) = scratch.split_at_mut(rows * score_line);
                self.begin(start == 0, sums, sum_line);
                for first in (start..seen).step_by(KEYS) {
                    let block = first..(first + KEYS).min(seen);
                    self.score(simd, &block, scores, score_line);
                    for row in 0..rows {
                        let (scores, sums) = (&mut scores[row * score_line..], &mut sums[row * sum_line..]);
                        self.weigh(simd, row, &block, scores, &mut sums[..sum_line]);
                    }
                    self.sum(simd, &block, scores, score_line, sums, sum_line);
                }
                self.end(simd, end == keys, sums, sum_line);
            },
        );
    }
}

impl Task<'_> {
    /// Where a query lies among all.
    #[inline(always)]
    fn place(&self, row: usize) -> usize {
        let Attention { queries, heads, channels, .. } = self.call.shape;
        let (item, head) = (self.head / heads, self.head % heads);
        ((item * queries + self.queries.start + row) * heads + head) * channels
    }

    #[inline(always)]
    fn begin(&mut self, is_first: bool, sums: &mut [f32], line: usize) {
        let channels = self.call.shape.channels;
        if is_first {
            sums.fill(0.0);
            self.state.chunks_exact_mut(2).for_each(|state| state.copy_from_slice(&[f32::NEG_INFINITY, 0.0]));
            return;
        }
        for (row, sums) in sums.chunks_exact_mut(line).enumerate() {
            // SAFETY: the output is there, and the queries are this task's own.
            let from = unsafe { self.call.output.part(self.place(row), channels) };
            sums[..channels].copy_from_slice(from);
            sums[channels..].fill(0.0);
        }
    }

    /// The scores of the keys `block`, not yet scaled.
    #[inline(always)]
    fn score<S: Simd>(&self, simd: S, block: &Range<usize>, scores: &mut [f32], line: usize) {
        let Attention { heads, channels, .. } = self.call.shape;
        let [start, end] = self.packed.range;
        let panels = (end - start).div_ceil(PANEL);
        let q = &self.call.q[self.place(0)..];
        let rows = Rows { start: q.as_ptr(), distance: heads * channels, count: self.queries.len() };
        for first in block.clone().step_by(PANEL) {
            let panel = &self.packed.keys[(self.at * panels + (first - start) / PANEL) * PANEL * channels..];
            let to = scores[first - block.start..].as_mut_ptr();
            let sums = Sums { start: to, distance: line, columns: (block.end - first).min(PANEL), added: false };
            // SAFETY: queries of a head are `distance` apart and have `channels` numbers, the panel as many rows, and
            // a line of scores is wide enough for the panels of a block.
            unsafe { multiply(simd, channels, rows, panel.as_ptr(), sums) }
        }
    }

    /// Turns the scores of a query into weights, and scales what it has summed up to their largest score.
    #[inline(always)]
    fn weigh<S: Simd>(&mut self, simd: S, row: usize, block: &Range<usize>, scores: &mut [f32], sums: &mut [f32]) {
        let Attention { channels, causal, .. } = self.call.shape;
        let query = self.queries.start + row;
        let seen = if causal { (query + 1).clamp(block.start, block.end) } else { block.end } - block.start;
        let (scores, hidden) = scores[..block.len()].split_at_mut(seen);
        hidden.fill(0.0);
        if seen == 0 {
            return;
        }
        let scale = (LOG2_E / (channels as f64).sqrt()) as f32;
        let whole = seen / S::LANES * S::LANES;
        let mut largest = simd.splat(f32::NEG_INFINITY);
        simd::each(
            simd,
            &scores[..whole],
            #[inline(always)]
            |x| largest = simd.max(x, largest),
        );
        let rest = scores[whole..].iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let (before, total) = (self.state[2 * row], self.state[2 * row + 1]);
        let now = before.max(simd.largest(largest).max(rest) * scale);
        let mut weights = simd.splat(0.0);
        simd::change(
            simd,
            &mut scores[..whole],
            #[inline(always)]
            |_, x| {
                let weight = math::exp2(simd, simd.mul_add(x, simd.splat(scale), simd.splat(-now)));
                weights = simd.add(weights, weight);
                weight
            },
        );
        let mut sum = simd.sum(weights);
        simd::change(
            simd,
            &mut scores[whole..],
            #[inline(always)]
            |_, x| math::exp2(simd, simd.mul_add(x, simd.splat(scale), simd.splat(-now))),
        );
        scores[whole..].iter().for_each(|weight| sum += weight);
        let factor = simd.to_array(math::exp2(simd, simd.splat(before - now)))[0];
        self.state[2 * row] = now;
        self.state[2 * row + 1] = total * factor + sum;
        if factor != 1.0 {
            simd::change(
                simd,
                sums,
                #[inline(always)]
                |_, x| simd.mul(x, simd.splat(factor)),
            );
        }
    }

    /// Adds the values of the keys `block` under their weights.
    #[inline(always)]
    fn sum<S: Simd>(
        &self,
        simd: S,
        block: &Range<usize>,
        weights: &[f32],
        weight_line: usize,
        sums: &mut [f32],
        line: usize,
    ) {
        let channels = self.call.shape.channels;
        let [start, end] = self.packed.range;
        let (count, panels) = (end - start, channels.div_ceil(PANEL));
        let rows = Rows { start: weights.as_ptr(), distance: weight_line, count: self.queries.len() };
        for panel in 0..panels {
            let place = ((self.at * panels + panel) * count + block.start - start) * PANEL;
            let columns = (channels - panel * PANEL).min(PANEL);
            let to = sums[panel * PANEL..].as_mut_ptr();
            let sums = Sums { start: to, distance: line, columns, added: true };
            // SAFETY: a line of weights has those of the block, the panel a row for each key, and a line of sums is whole
            // panels wide.
            unsafe { multiply(simd, block.len(), rows, self.packed.values[place..].as_ptr(), sums) }
        }
    }

    /// Writes what was summed up; divided by the sum of all weights, if all keys were there.
    #[inline(always)]
    fn end<S: Simd>(&self, simd: S, is_last: bool, sums: &[f32], line: usize) {
        let channels = self.call.shape.channels;
        for (row, sums) in sums.chunks_exact(line).enumerate() {
            // SAFETY: the output is there, and the queries are this task's own.
            let to = unsafe { self.call.output.part(self.place(row), channels) };
            to.copy_from_slice(&sums[..channels]);
            if is_last {
                let share = simd.splat(1.0 / self.state[2 * row + 1]);
                simd::change(
                    simd,
                    to,
                    #[inline(always)]
                    |_, x| simd.mul(x, share),
                );
            }
        }
    }
}
