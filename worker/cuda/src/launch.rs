//! What a GPU is told: a kernel, its blocks and threads, its arguments.

use sd_kernels::Activation;

/// Threads that do the same at a time.
pub(crate) const WARP: usize = 32;
/// Threads of a block, about: enough to hide how long memory takes, few enough for several blocks at once.
pub(crate) const THREADS: usize = 256;
/// Most threads of a block.
pub(crate) const THREADS_MAX: usize = 1024;
/// Most memory of a block that every GPU has without being asked.
pub(crate) const BLOCK_BYTES_MAX: usize = 48 << 10;
/// Most blocks of a kernel whose threads go on with more.
const BLOCKS_MAX: usize = 8192;
/// Bytes that one instruction reads.
const WIDE_BYTES: usize = 16;

/// A type of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// 32 bits.
    F32,
    /// 16 bits, of which 10 are behind the point.
    F16,
    /// 16 bits with the range of 32.
    Bf16,
}

impl Number {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// Bytes of a number.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// As names of kernels call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// How many numbers of a row a thread takes at a time, and what kernels that do are called.
    pub(crate) fn width(self, channels: usize) -> (usize, &'static str) {
        let wide = WIDE_BYTES / self.bytes();
        if channels.is_multiple_of(wide) { (wide, "wide") } else { (1, "narrow") }
    }
}

/// A source of kernels, which is loaded as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// `attention.cu`
    Attention,
    /// `ending.cu`
    Ending,
    /// `norm.cu`
    Norm,
    /// `patches.cu`
    Patches,
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument {
    /// Memory of at least so many bytes.
    Memory {
        /// Which, of those that the operation names.
        slot: usize,
        /// What of it is read or written.
        bytes: usize,
    },
    /// No memory, where some may be.
    Null,
    /// A size.
    Int(i32),
    /// A number.
    Float(f32),
}

/// A kernel, and how it is started.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Where the kernel is.
    pub module: Module,
    /// Its name.
    pub kernel: String,
    /// Blocks: `[x, y, z]`.
    pub grid: [u32; 3],
    /// Threads of a block: `[x, y, z]`.
    pub block: [u32; 3],
    /// Memory of a block.
    pub block_bytes: u32,
    /// In the kernel's order.
    pub arguments: Vec<Argument>,
}

impl Launch {
    /// A kernel whose threads take `items` one by one.
    pub(crate) fn over(items: usize, module: Module, kernel: String, arguments: Vec<Argument>) -> Self {
        let blocks = items.div_ceil(THREADS).clamp(1, BLOCKS_MAX);
        Self { module, kernel, grid: [size(blocks), 1, 1], block: [size(THREADS), 1, 1], block_bytes: 0, arguments }
    }
}

/// An activation, by the number that the kernels know it by.
pub(crate) fn known(activation: Activation) -> Argument {
    Argument::Int(match activation {
        Activation::Identity => 0,
        Activation::Relu => 1,
        Activation::Silu => 2,
        Activation::QuickGelu => 3,
        Activation::GeluErf => 4,
        Activation::Geglu => 5,
    })
}

/// A size as launches say it.
pub(crate) fn size(size: usize) -> u32 {
    u32::try_from(size).expect("sizes of launches are bounded")
}

/// A size as kernels read it; nothing where it is too large for them.
pub(crate) fn int(size: usize) -> Option<Argument> {
    i32::try_from(size).ok().map(Argument::Int)
}
