//! Convolutions by cuDNN, channels last, with sums in f32. Products of f32 are rounded where candle's are (TF32).

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{c_int, c_void};

use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, result, sys};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, DevicePtr, DevicePtrMut, DeviceRepr};
use candle_core::cuda_backend::{CudaDevice, DeviceId, gemm_reduced_precision_f32};
use candle_core::{Result, bail};
use sd_kernels::Window;

use crate::launch::Number;

/// Most memory that an algorithm takes besides pictures and weights.
const WORKSPACE_BYTES_MAX: usize = 256 << 20;

/// A convolution of pictures that are seen in their own size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// Pictures.
    pub batch: usize,
    /// Height and width of a picture.
    pub size: [usize; 2],
    /// Channels: of a picture, and of what is made of it.
    pub channels: [usize; 2],
    /// Side of the square of weights.
    pub kernel: usize,
    /// From one place of it to the next.
    pub stride: usize,
    /// Zeros around a picture.
    pub padding: usize,
}

impl Convolution {
    /// That of a window; nothing where cuDNN has no name for it.
    pub fn new(window: Window, outputs: usize) -> Option<Self> {
        let Window { batch, size, seen, channels, kernel, stride, padding: [before, behind] } = window;
        let is_named = size == seen && before == behind;
        is_named.then_some(Self { batch, size, channels: [channels, outputs], kernel, stride, padding: before })
    }

    fn out_size(&self) -> [usize; 2] {
        self.size.map(|side| (side + 2 * self.padding - self.kernel) / self.stride + 1)
    }
}

/// Whether cuDNN is there and computes that.
pub fn computes(device: &CudaDevice, convolution: Convolution, number: Number) -> bool {
    with_library(device, |library| library.plan(convolution, number).is_some()).unwrap_or(false)
}

/// Convolves `x`, `[batch, height, width, channels]`, with `weight`, `[outputs, kernel, kernel, channels]`, into
/// `[batch, height', width', outputs]`.
///
/// # Errors
/// When it [is not computed](computes), memory is of another size or full, and what cuDNN says.
pub fn convolve<N: DeviceRepr>(
    device: &CudaDevice,
    convolution: Convolution,
    number: Number,
    x: &CudaView<N>,
    weight: &CudaView<N>,
) -> Result<CudaSlice<N>> {
    let convolved = with_library(device, |library| library.convolve(device, convolution, number, x, weight));
    convolved.unwrap_or_else(|| bail!("cuDNN is not there"))
}

fn with_library<T>(device: &CudaDevice, work: impl FnOnce(&mut Library) -> T) -> Option<T> {
    LIBRARIES.with_borrow_mut(|libraries| {
        libraries.entry(device.id()).or_insert_with(|| Library::open(device)).as_mut().map(work)
    })
}

thread_local! {
    /// cuDNN for each device that this thread computes on; nothing where it is not installed.
    static LIBRARIES: RefCell<HashMap<DeviceId, Option<Library>>> = RefCell::default();
}

/// cuDNN on the stream of a device, and how it computes what was computed before.
struct Library {
    handle: sys::cudnnHandle_t,
    plans: HashMap<(Convolution, c_int), Option<Plan>>,
}

impl Library {
    fn open(device: &CudaDevice) -> Option<Self> {
        // SAFETY: a look for a file.
        if !unsafe { sys::is_culib_present() } {
            tracing::warn!("cuDNN was not found; convolutions are computed without it, and slower");
            return None;
        }
        let stream = device.cuda_stream();
        let opened = result::create_handle().and_then(|handle| {
            // SAFETY: the handle was just made, and the stream lives as long as the device.
            unsafe { result::set_stream(handle, stream.cu_stream().cast()) }.map(|()| handle)
        });
        match opened {
            Ok(handle) => Some(Self { handle, plans: HashMap::new() }),
            Err(error) => {
                tracing::warn!(%error, "cuDNN cannot be used; convolutions are computed without it, and slower");
                None
            }
        }
    }

    fn plan(&mut self, convolution: Convolution, number: Number) -> Option<&Plan> {
        let (handle, dtype) = (self.handle, dtype(number));
        let plan = self.plans.entry((convolution, dtype as c_int)).or_insert_with(|| {
            Plan::new(handle, convolution, dtype).unwrap_or_else(|error| {
                tracing::debug!(%error, ?convolution, "cuDNN does not compute this");
                None
            })
        });
        plan.as_ref()
    }

    fn convolve<N: DeviceRepr>(
        &mut self,
        device: &CudaDevice,
        convolution: Convolution,
        number: Number,
        x: &CudaView<N>,
        weight: &CudaView<N>,
    ) -> Result<CudaSlice<N>> {
        let handle = self.handle;
        let Some(plan) = self.plan(convolution, number) else { bail!("cuDNN does not compute {convolution:?}") };
        let Convolution { batch, size: [height, width], channels: [inputs, outputs], kernel, .. } = convolution;
        if x.len() != batch * height * width * inputs || weight.len() != outputs * kernel * kernel * inputs {
            bail!("{} numbers and {} weights are not those of {convolution:?}", x.len(), weight.len())
        }
        let [out_height, out_width] = convolution.out_size();
        let stream = device.cuda_stream();
        // SAFETY: cuDNN writes every number of it.
        let mut y = unsafe { device.alloc::<N>(batch * out_height * out_width * outputs) }?;
        // SAFETY: nobody but cuDNN reads it.
        let mut workspace = unsafe { device.alloc::<u8>(plan.workspace_bytes.max(1)) }?;
        let (one, zero) = (1.0_f32, 0.0_f32);
        {
            let ((x, _x), (weight, _weight)) = (x.device_ptr(&stream), weight.device_ptr(&stream));
            let ((y, _y), (workspace, _workspace)) = (y.device_ptr_mut(&stream), workspace.device_ptr_mut(&stream));
            let computed = unsafe {
                // SAFETY: the plan was made for memory of these sizes, which was compared; scales are f32 for every type.
                result::convolution_forward(
                    handle,
                    (&raw const one).cast(),
                    plan.x.0,
                    x as *const c_void,
                    plan.weight.0,
                    weight as *const c_void,
                    plan.convolution.0,
                    plan.algorithm,
                    workspace as *mut c_void,
                    plan.workspace_bytes,
                    (&raw const zero).cast(),
                    plan.y.0,
                    y as *mut c_void,
                )
            };
            computed.map_err(candle_core::Error::wrap)?;
        }
        Ok(y)
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        self.plans.clear();
        // SAFETY: it was made here, and nothing made with it is left. What cannot be given back is lost, and no more.
        unsafe { result::destroy_handle(self.handle) }.unwrap_or_default();
    }
}

fn dtype(number: Number) -> sys::cudnnDataType_t {
    match number {
        Number::F32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
        Number::F16 => sys::cudnnDataType_t::CUDNN_DATA_HALF,
        Number::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
    }
}

/// How cuDNN computes a convolution: its descriptors, and the algorithm that it expects to be the fastest.
struct Plan {
    x: Tensor,
    weight: Filter,
    convolution: Descriptor,
    y: Tensor,
    algorithm: sys::cudnnConvolutionFwdAlgo_t,
    workspace_bytes: usize,
}

impl Plan {
    fn new(
        handle: sys::cudnnHandle_t,
        convolution: Convolution,
        dtype: sys::cudnnDataType_t,
    ) -> std::result::Result<Option<Self>, CudnnError> {
        let Convolution { batch, size, channels: [inputs, outputs], kernel, stride, padding } = convolution;
        let picture = |channels, [height, width]: [usize; 2]| [batch, channels, height, width].map(int);
        let x = Tensor::new(dtype, picture(inputs, size))?;
        let y = Tensor::new(dtype, picture(outputs, convolution.out_size()))?;
        let weight = Filter::new(dtype, [outputs, inputs, kernel, kernel].map(int))?;
        let descriptor = Descriptor::new(int(padding), int(stride))?;
        // Tensor cores round products of f32 to 10 bits, as f16 has.
        let is_exact = dtype == sys::cudnnDataType_t::CUDNN_DATA_FLOAT && !gemm_reduced_precision_f32();
        let math =
            if is_exact { sys::cudnnMathType_t::CUDNN_FMA_MATH } else { sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH };
        // SAFETY: the descriptor was just made.
        unsafe { result::set_convolution_math_type(descriptor.0, math) }?;
        let Some(algorithm) = algorithm(handle, &x, &weight, &descriptor, &y)? else { return Ok(None) };
        // SAFETY: as above; the algorithm is one of those that cuDNN named for them.
        let workspace_bytes = unsafe {
            result::set_convolution_math_type(descriptor.0, algorithm.mathType)?;
            result::get_convolution_forward_workspace_size(handle, x.0, weight.0, descriptor.0, y.0, algorithm.algo)?
        };
        Ok(Some(Self { x, weight, convolution: descriptor, y, algorithm: algorithm.algo, workspace_bytes }))
    }
}

/// The first that cuDNN names: the fastest by its own account, without a try, so that every worker takes the same.
fn algorithm(
    handle: sys::cudnnHandle_t,
    x: &Tensor,
    weight: &Filter,
    convolution: &Descriptor,
    y: &Tensor,
) -> std::result::Result<Option<sys::cudnnConvolutionFwdAlgoPerf_t>, CudnnError> {
    const COUNT: usize = sys::cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_COUNT as usize;
    let mut named = 0;
    // SAFETY: numbers and names, of which zero is one each.
    let mut algorithms: [sys::cudnnConvolutionFwdAlgoPerf_t; COUNT] = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptors live, and there is room for as many as are asked for.
    unsafe {
        result::get_convolution_forward_algorithm(
            handle,
            x.0,
            weight.0,
            convolution.0,
            y.0,
            int(COUNT),
            &raw mut named,
            algorithms.as_mut_ptr(),
        )
    }?;
    let can = |algorithm: &sys::cudnnConvolutionFwdAlgoPerf_t| {
        algorithm.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
            && algorithm.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC
            && algorithm.memory <= WORKSPACE_BYTES_MAX
    };
    let named = usize::try_from(named).unwrap_or(0).min(COUNT);
    Ok(algorithms[..named].iter().find(|algorithm| can(algorithm)).copied())
}

/// A size as cuDNN reads it; those that are too large it refuses.
fn int(size: usize) -> c_int {
    c_int::try_from(size).unwrap_or(c_int::MAX)
}

/// A picture, channels last.
struct Tensor(sys::cudnnTensorDescriptor_t);

impl Tensor {
    fn new(dtype: sys::cudnnDataType_t, dims: [c_int; 4]) -> std::result::Result<Self, CudnnError> {
        let made = Self(result::create_tensor_descriptor()?);
        // SAFETY: it was just made.
        unsafe { result::set_tensor4d_descriptor(made.0, sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC, dtype, dims) }?;
        Ok(made)
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: it was made here, and is used by nobody after this. What cannot be given back is lost, and no more.
        unsafe { result::destroy_tensor_descriptor(self.0) }.unwrap_or_default();
    }
}

/// Weights, the inputs of a tap side by side.
struct Filter(sys::cudnnFilterDescriptor_t);

impl Filter {
    fn new(dtype: sys::cudnnDataType_t, dims: [c_int; 4]) -> std::result::Result<Self, CudnnError> {
        let made = Self(result::create_filter_descriptor()?);
        // SAFETY: it was just made.
        unsafe { result::set_filter4d_descriptor(made.0, dtype, sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC, dims) }?;
        Ok(made)
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: it was made here, and is used by nobody after this. What cannot be given back is lost, and no more.
        unsafe { result::destroy_filter_descriptor(self.0) }.unwrap_or_default();
    }
}

/// How weights go over a picture.
struct Descriptor(sys::cudnnConvolutionDescriptor_t);

impl Descriptor {
    fn new(padding: c_int, stride: c_int) -> std::result::Result<Self, CudnnError> {
        let made = Self(result::create_convolution_descriptor()?);
        let (mode, sums) =
            (sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION, sys::cudnnDataType_t::CUDNN_DATA_FLOAT);
        // SAFETY: it was just made.
        unsafe { result::set_convolution2d_descriptor(made.0, padding, padding, stride, stride, 1, 1, mode, sums) }?;
        Ok(made)
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: it was made here, and is used by nobody after this. What cannot be given back is lost, and no more.
        unsafe { result::destroy_convolution_descriptor(self.0) }.unwrap_or_default();
    }
}
