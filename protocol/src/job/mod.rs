//! A job as it is asked for and as it is told.
//!
//! | module | what it holds |
//! |---|---|
//! | [`id`] | names of jobs |
//! | [`request`] [`options`] | what a client asks for |
//! | [`change`] | what it may change later |
//! | [`view`] | what the worker says about it |

pub mod change;
pub mod id;
pub mod options;
pub mod request;
pub mod view;

pub use change::JobChange;
pub use id::{InvalidJobId, JobId};
pub use options::{
    ImageFormat, InpaintArea, InpaintFill, InpaintRequest, LoraRequest, OnDisconnect, OutpaintRequest, OutputOptions,
    PreviewDtype, PreviewMode, PreviewOptions, RefinerRequest, ResizeMode, Rng, Supersede,
};
pub use request::JobRequest;
pub use view::{ImageView, JobList, JobState, JobView, Timings};
