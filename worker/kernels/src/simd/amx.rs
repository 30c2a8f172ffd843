//! Intel's tiles (AMX): sixteen rows of thirty-two numbers of bf16 with sixteen columns of them in one instruction.
//!
//! Rust has no stable intrinsics for them, so the instructions are written out.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::LazyLock;

use half::bf16;

use crate::memory::LINE_BYTES;
use crate::pack::PANEL;
use crate::peak::ROUNDS;
use crate::tile::{Rows, Sums};

/// Rows of a tile.
const ROWS: usize = 16;
/// Bytes of a row: 32 numbers of bf16, or 16 of f32.
const ROW_BYTES: usize = 64;
/// Numbers of bf16 in a row.
const DEPTH: usize = ROW_BYTES / size_of::<bf16>();
/// Columns of a tile of sums.
const COLUMNS: usize = ROW_BYTES / size_of::<f32>();

/// Whether this CPU has tiles of bf16, and the system lets this process use them.
pub(super) fn is_here() -> bool {
    static IS_HERE: LazyLock<bool> = LazyLock::new(|| {
        // Leaf 7 names them in the bits 22 (bf16) and 24 (tiles) of its last register.
        const BF16_TILES: u32 = 1 << 22 | 1 << 24;
        __cpuid_count(7, 0).edx & BF16_TILES == BF16_TILES && allowed()
    });
    *IS_HERE
}

/// Asks for the registers of tiles, which Linux keeps from a process that has not (since 5.16).
fn allowed() -> bool {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_ulong = 18;
        // SAFETY: it changes nothing but what this process may use.
        let refused = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) };
        refused == 0
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    false
}

/// What the registers hold: all eight whole tiles.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut tile = 0;
    while tile < 8 {
        row_bytes[tile] = ROW_BYTES as u16;
        rows[tile] = ROWS as u8;
        tile += 1;
    }
    Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
};

/// Calls `f` between making tiles ready, which takes as long as some of their products, and giving them back, so that the
/// system has nothing of them to keep when it runs another thread.
///
/// # Safety
/// [`is_here`] says so.
#[inline(always)]
pub(super) unsafe fn with_tiles<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: it reads a whole configuration, and changes registers that nothing outside of `f` uses.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, preserves_flags)) }
    let value = f();
    // SAFETY: as above.
    unsafe { asm!("tilerelease", options(nostack, preserves_flags)) }
    value
}

/// [`crate::tile::multiply`] on tiles, two by two of them: every number that is read meets two tiles.
///
/// # Safety
/// As there, for whole tiles of rows; `depth` is a multiple of 32, and the caller is called by [`with_tiles`].
#[inline(always)]
pub(super) unsafe fn multiply(depth: usize, rows: Rows<bf16>, panel: *const bf16, sums: Sums) {
    // SAFETY: the tiles lie in the rows, the panel and the sums that the caller has; the registers are this function's
    // own, since nothing else in the process uses them.
    unsafe {
        let pairs = rows.count.div_ceil(2 * ROWS).clamp(1, PAIRS_MAX);
        let lines = (STEP_BYTES / LINE_BYTES).div_ceil(pairs);
        for row in (0..rows.count).step_by(2 * ROWS) {
            let (steps, pair) = (depth / DEPTH, row / (2 * ROWS));
            let tile = Tile {
                steps,
                a: rows.start.add(row * rows.distance),
                row_bytes: rows.distance * size_of::<bf16>(),
                b: panel,
                c: sums.start.add(row * sums.distance),
                line_bytes: sums.distance * size_of::<f32>(),
                added: sums.added,
                ahead: sums.ahead.cast::<u8>().wrapping_add(pair % PAIRS_MAX * steps * lines * LINE_BYTES),
                lines,
            };
            match (rows.count - row > ROWS, sums.columns > COLUMNS) {
                (true, true) => tile.two_by_two(),
                (true, false) => tile.two_by_one(),
                (false, true) => tile.one_by_two(),
                (false, false) => tile.one_by_one(),
            }
        }
    }
}

/// [`peak::rounds`](crate::peak::rounds) of tiles, four of which do not wait for each other.
///
/// # Safety
/// The caller is called by [`with_tiles`].
pub(super) unsafe fn rounds() -> f64 {
    // SAFETY: the registers are this function's own, as above, and hold zeros.
    unsafe {
        asm!(
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {rounds}",
            "jnz 2b",
            rounds = inout(reg) ROUNDS => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
    (4 * 2 * ROWS * COLUMNS * DEPTH * ROUNDS) as f64
}

/// Some tiles of rows with some tiles of a panel.
struct Tile {
    /// Tiles of a row, at least one.
    steps: usize,
    a: *const bf16,
    row_bytes: usize,
    b: *const bf16,
    c: *mut f32,
    line_bytes: usize,
    added: bool,
    /// A part of the next panel, which is brought nearer meanwhile.
    ahead: *const u8,
    /// Lines of the cache that each step brings nearer, at least one.
    lines: usize,
}

/// Pairs of tiles of rows that bring the whole of the next panel nearer together.
const PAIRS_MAX: usize = 8;
/// Bytes of two rows of a panel, which are one of a tile and of the tile beside it.
const PANEL_BYTES: usize = 2 * PANEL * size_of::<bf16>();
/// Bytes of a panel that a step takes.
const STEP_BYTES: usize = DEPTH * PANEL * size_of::<bf16>();

/// Writes a function of [`Tile`]: what begins the sums, adds to them in each step, and ends them.
macro_rules! tiles {
    (
        $(#[$doc:meta])* $name:ident,
        zero: $($zero:literal)*, load: $($load:literal)*, step: $($step:literal)*, store: $($store:literal)*
    ) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// As of [`multiply`], whose configuration is loaded.
        #[inline(always)]
        unsafe fn $name(&self) {
            let Self { steps, a, row_bytes, b, c, line_bytes, added, ahead, lines } = *self;
            // SAFETY: the caller's promise.
            unsafe {
                asm!(
                    "test {added}, {added}",
                    "jnz 3f",
                    $($zero,)*
                    "jmp 2f",
                    "3:",
                    $($load,)*
                    "2:",
                    $($step,)*
                    "mov {left}, {lines}",
                    "4:",
                    "prefetcht1 [{ahead}]",
                    "add {ahead}, 64",
                    "dec {left}",
                    "jnz 4b",
                    "add {a}, 64",
                    "add {a2}, 64",
                    "add {b}, {step_bytes}",
                    "dec {steps}",
                    "jnz 2b",
                    $($store,)*
                    added = in(reg) usize::from(added),
                    a = inout(reg) a => _,
                    a2 = inout(reg) a.cast::<u8>().wrapping_add(ROWS * row_bytes) => _,
                    b = inout(reg) b => _,
                    ahead = inout(reg) ahead => _,
                    steps = inout(reg) steps => _,
                    c = in(reg) c,
                    c2 = in(reg) c.cast::<u8>().wrapping_add(ROWS * line_bytes),
                    row = in(reg) row_bytes,
                    panel = in(reg) PANEL_BYTES,
                    line = in(reg) line_bytes,
                    step_bytes = const STEP_BYTES,
                    lines = in(reg) lines,
                    left = out(reg) _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

impl Tile {
    tiles! {
        /// 32 rows, 32 columns.
        two_by_two,
        zero: "tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3",
        load: "tileloadd tmm0, [{c} + {line}]" "tileloadd tmm1, [{c} + {line} + 64]"
            "tileloadd tmm2, [{c2} + {line}]" "tileloadd tmm3, [{c2} + {line} + 64]",
        step: "tileloadd tmm6, [{b} + {panel}]" "tileloadd tmm4, [{a} + {row}]" "tdpbf16ps tmm0, tmm4, tmm6"
            "tileloadd tmm7, [{b} + {panel} + 64]" "tdpbf16ps tmm1, tmm4, tmm7"
            "tileloadd tmm5, [{a2} + {row}]" "tdpbf16ps tmm2, tmm5, tmm6" "tdpbf16ps tmm3, tmm5, tmm7",
        store: "tilestored [{c} + {line}], tmm0" "tilestored [{c} + {line} + 64], tmm1"
            "tilestored [{c2} + {line}], tmm2" "tilestored [{c2} + {line} + 64], tmm3"
    }

    tiles! {
        /// 32 rows, 16 columns.
        two_by_one,
        zero: "tilezero tmm0" "tilezero tmm2",
        load: "tileloadd tmm0, [{c} + {line}]" "tileloadd tmm2, [{c2} + {line}]",
        step: "tileloadd tmm6, [{b} + {panel}]" "tileloadd tmm4, [{a} + {row}]" "tdpbf16ps tmm0, tmm4, tmm6"
            "tileloadd tmm5, [{a2} + {row}]" "tdpbf16ps tmm2, tmm5, tmm6",
        store: "tilestored [{c} + {line}], tmm0" "tilestored [{c2} + {line}], tmm2"
    }

    tiles! {
        /// 16 rows, 32 columns.
        one_by_two,
        zero: "tilezero tmm0" "tilezero tmm1",
        load: "tileloadd tmm0, [{c} + {line}]" "tileloadd tmm1, [{c} + {line} + 64]",
        step: "tileloadd tmm6, [{b} + {panel}]" "tileloadd tmm4, [{a} + {row}]" "tdpbf16ps tmm0, tmm4, tmm6"
            "tileloadd tmm7, [{b} + {panel} + 64]" "tdpbf16ps tmm1, tmm4, tmm7",
        store: "tilestored [{c} + {line}], tmm0" "tilestored [{c} + {line} + 64], tmm1" "/* {c2} */"
    }

    tiles! {
        /// 16 rows, 16 columns.
        one_by_one,
        zero: "tilezero tmm0",
        load: "tileloadd tmm0, [{c} + {line}]",
        step: "tileloadd tmm6, [{b} + {panel}]" "tileloadd tmm4, [{a} + {row}]" "tdpbf16ps tmm0, tmm4, tmm6",
        store: "tilestored [{c} + {line}], tmm0" "/* {c2} */"
    }
}
