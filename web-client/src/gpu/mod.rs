//! Pictures on a GPU: what `preview` plans, given to wgpu.
//!
//! | file | what it holds |
//! |---|---|
//! | [`latent`] | [`LatentTexture`](latent::LatentTexture): the payload of a frame, byte for byte |
//! | [`linear`] | [`Linear`](linear::Linear): one pass through the basis |
//! | [`decoder`] | [`GpuDecoder`](decoder::GpuDecoder): the passes of a TAESD-type decoder |
//!
//! # Invariants
//! * Nothing here knows a browser or a canvas: a picture is drawn into a view that is given. The tests draw into
//!   textures, on whatever adapter the machine has.
//! * What one frame needs is kept for the next: buffers only grow, and nothing is compiled twice for a device.

pub(crate) mod decoder;
pub(crate) mod latent;
pub(crate) mod linear;

#[cfg(test)]
mod tests;
