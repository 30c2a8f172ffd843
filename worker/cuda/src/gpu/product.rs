//! Products by cuBLASLt, with what is added to them: sums in f32, rounded once. Products of f32 are rounded where candle's
//! are (TF32).

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;

use candle_core::cuda_backend::cudarc::cublas::sys::cublasOperation_t;
use candle_core::cuda_backend::cudarc::cublaslt::result::{self, CublasError};
use candle_core::cuda_backend::cudarc::cublaslt::sys;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, DevicePtr, DevicePtrMut, DeviceRepr};
use candle_core::cuda_backend::{CudaDevice, DeviceId, gemm_reduced_precision_f32};
use candle_core::{Result, bail};

use crate::launch::Number;

/// Memory that products are put together in: what NVIDIA names for Hopper.
const WORKSPACE_BYTES: usize = 32 << 20;
/// Bytes that matrices begin at a multiple of.
const ALIGNMENT: u32 = 16;

/// `x · weightᵀ + bias + residual`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Product {
    /// Of `x` and the result.
    pub rows: usize,
    /// Numbers of a row of `x` and of `weight`.
    pub inputs: usize,
    /// Rows of `weight`, and numbers of a row of the result.
    pub outputs: usize,
    /// Whether a number is added to every row of the result.
    pub has_bias: bool,
    /// Whether a number is added to every number of the result.
    pub has_residual: bool,
}

/// What a product reads: `x`, `[rows, inputs]`, `weight`, `[outputs, inputs]`, `bias`, `[outputs]`, and `residual`,
/// `[rows, outputs]`.
pub struct Factors<'a, N> {
    /// Multiplied with every row of `weight`.
    pub x: CudaView<'a, N>,
    /// By outputs.
    pub weight: CudaView<'a, N>,
    /// Where the product has one.
    pub bias: Option<CudaView<'a, N>>,
    /// Where the product has one.
    pub residual: Option<CudaView<'a, N>>,
}

/// Whether cuBLASLt computes that.
///
/// # Errors
/// When it cannot be opened.
pub fn multiplies(device: &CudaDevice, product: Product, number: Number) -> Result<bool> {
    with_library(device, |library| Ok(library.plan(product, number).is_some()))
}

/// Multiplies and adds.
///
/// # Errors
/// When it [is not computed](multiplies), memory is of another size or full, and what cuBLASLt says.
pub fn multiply<N: DeviceRepr>(
    device: &CudaDevice,
    product: Product,
    number: Number,
    factors: &Factors<N>,
) -> Result<CudaSlice<N>> {
    with_library(device, |library| library.multiply(device, product, number, factors))
}

fn with_library<T>(device: &CudaDevice, work: impl FnOnce(&mut Library) -> Result<T>) -> Result<T> {
    LIBRARIES.with_borrow_mut(|libraries| {
        work(match libraries.entry(device.id()) {
            Entry::Occupied(library) => library.into_mut(),
            Entry::Vacant(place) => place.insert(Library::open(device)?),
        })
    })
}

thread_local! {
    /// cuBLASLt for each device that this thread computes on.
    static LIBRARIES: RefCell<HashMap<DeviceId, Library>> = RefCell::default();
}

/// cuBLASLt, and how it computes what was computed before.
struct Library {
    handle: sys::cublasLtHandle_t,
    workspace: CudaSlice<u8>,
    plans: HashMap<(Product, &'static str), Option<Plan>>,
}

impl Library {
    fn open(device: &CudaDevice) -> Result<Self> {
        // SAFETY: nobody but cuBLASLt reads it.
        let workspace = unsafe { device.alloc::<u8>(WORKSPACE_BYTES) }?;
        let handle = result::create_handle().map_err(candle_core::Error::wrap)?;
        Ok(Self { handle, workspace, plans: HashMap::new() })
    }

    fn plan(&mut self, product: Product, number: Number) -> Option<&Plan> {
        let handle = self.handle;
        let plan = self.plans.entry((product, number.name())).or_insert_with(|| {
            let plan = Plan::new(handle, product, number);
            plan.inspect_err(|error| tracing::debug!(%error, ?product, "cuBLASLt does not compute this")).ok()
        });
        plan.as_ref()
    }

    fn multiply<N: DeviceRepr>(
        &mut self,
        device: &CudaDevice,
        product: Product,
        number: Number,
        factors: &Factors<N>,
    ) -> Result<CudaSlice<N>> {
        let Product { rows, inputs, outputs, has_bias, has_residual } = product;
        let Factors { x, weight, bias, residual } = factors;
        let fits = |view: &Option<CudaView<N>>, is_there: bool, len: usize| match view {
            Some(view) => is_there && view.len() == len,
            None => !is_there,
        };
        let all_fit = x.len() == rows * inputs
            && weight.len() == outputs * inputs
            && fits(bias, has_bias, outputs)
            && fits(residual, has_residual, rows * outputs);
        if !all_fit {
            bail!("these are not the matrices of {product:?}")
        }
        let stream = device.cuda_stream();
        let (handle, (workspace, _workspace)) = (self.handle, self.workspace.device_ptr(&stream));
        // SAFETY: cuBLASLt writes every number of it.
        let mut y = unsafe { device.alloc::<N>(rows * outputs) }?;
        let workspace = workspace as *mut c_void;
        let Some(plan) = self.plans.get(&(product, number.name())).and_then(Option::as_ref) else {
            bail!("cuBLASLt does not compute {product:?}")
        };
        let (one, zero) = (1.0_f32, 0.0_f32);
        let beta = if has_residual { &one } else { &zero };
        {
            let ((x, _x), (weight, _weight)) = (x.device_ptr(&stream), weight.device_ptr(&stream));
            let (y, _y) = y.device_ptr_mut(&stream);
            let residual = residual.as_ref().map(|residual| residual.device_ptr(&stream));
            let bias = bias.as_ref().map(|bias| bias.device_ptr(&stream));
            let added = residual.as_ref().map_or(y, |(address, _)| *address);
            let addresses = bias.iter().map(|(address, _)| *address).chain([x, weight, y, added]);
            for address in addresses {
                if !address.is_multiple_of(ALIGNMENT.into()) {
                    bail!("a matrix begins at no multiple of {ALIGNMENT} bytes")
                }
            }
            let computed = || -> std::result::Result<(), CublasError> {
                if let Some((bias, _)) = &bias {
                    plan.set(sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias)?;
                }
                // SAFETY: the plan was made for matrices of these sizes, which were compared, and of this alignment; the
                // workspace has the size that the algorithm was chosen for, and one stream uses it.
                unsafe {
                    result::matmul(
                        handle,
                        plan.product.0,
                        (&raw const one).cast(),
                        std::ptr::from_ref(beta).cast(),
                        weight as *const c_void,
                        plan.weight.0,
                        x as *const c_void,
                        plan.x.0,
                        added as *const c_void,
                        plan.y.0,
                        y as *mut c_void,
                        plan.y.0,
                        &raw const plan.algorithm.algo,
                        workspace,
                        WORKSPACE_BYTES,
                        stream.cu_stream().cast(),
                    )
                }
            };
            computed().map_err(candle_core::Error::wrap)?;
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

/// How cuBLASLt computes a product. It counts columns first, so that it multiplies the weight with `x` from the left.
struct Plan {
    product: Description,
    weight: Layout,
    x: Layout,
    y: Layout,
    algorithm: sys::cublasLtMatmulHeuristicResult_t,
}

impl Plan {
    fn new(
        handle: sys::cublasLtHandle_t,
        Product { rows, inputs, outputs, has_bias, .. }: Product,
        number: Number,
    ) -> std::result::Result<Self, CublasError> {
        let (dtype, sums) = match number {
            Number::F32 if gemm_reduced_precision_f32() => {
                (sys::cudaDataType::CUDA_R_32F, sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32)
            }
            Number::F32 => (sys::cudaDataType::CUDA_R_32F, sys::cublasComputeType_t::CUBLAS_COMPUTE_32F),
            Number::F16 => (sys::cudaDataType::CUDA_R_16F, sys::cublasComputeType_t::CUBLAS_COMPUTE_32F),
            Number::Bf16 => (sys::cudaDataType::CUDA_R_16BF, sys::cublasComputeType_t::CUBLAS_COMPUTE_32F),
        };
        let product = Description(result::create_matmul_desc(sums, sys::cudaDataType::CUDA_R_32F)?);
        product
            .set(sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA, &cublasOperation_t::CUBLAS_OP_T)?;
        if has_bias {
            product.set(
                sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_EPILOGUE,
                &sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
            )?;
        }
        let (weight, x) = (Layout::new(dtype, inputs, outputs)?, Layout::new(dtype, inputs, rows)?);
        let y = Layout::new(dtype, outputs, rows)?;
        let preference = Preference::new()?;
        // SAFETY: all were just made.
        let algorithm =
            unsafe { result::get_matmul_algo_heuristic(handle, product.0, weight.0, x.0, y.0, y.0, preference.0) }?;
        Ok(Self { product, weight, x, y, algorithm })
    }

    fn set<T>(&self, name: sys::cublasLtMatmulDescAttributes_t, value: &T) -> std::result::Result<(), CublasError> {
        self.product.set(name, value)
    }
}

struct Description(sys::cublasLtMatmulDesc_t);

impl Description {
    fn set<T>(&self, name: sys::cublasLtMatmulDescAttributes_t, value: &T) -> std::result::Result<(), CublasError> {
        // SAFETY: it lives, and as many bytes are read as the value has.
        unsafe { result::set_matmul_desc_attribute(self.0, name, std::ptr::from_ref(value).cast(), size_of::<T>()) }
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: it was made here, and is used by nobody after this. What cannot be given back is lost, and no more.
        unsafe { result::destroy_matmul_desc(self.0) }.unwrap_or_default();
    }
}

/// A matrix whose columns follow each other.
struct Layout(sys::cublasLtMatrixLayout_t);

impl Layout {
    fn new(dtype: sys::cudaDataType, rows: usize, columns: usize) -> std::result::Result<Self, CublasError> {
        // Sizes are those of memory, and fit.
        Ok(Self(result::create_matrix_layout(dtype, rows as u64, columns as u64, rows as i64)?))
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: it was made here, and is used by nobody after this. What cannot be given back is lost, and no more.
        unsafe { result::destroy_matrix_layout(self.0) }.unwrap_or_default();
    }
}

/// What algorithms may rely on.
struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn new() -> std::result::Result<Self, CublasError> {
        let made = Self(result::create_matmul_pref()?);
        made.set(
            sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            &WORKSPACE_BYTES,
        )?;
        for name in [
            sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ] {
            made.set(name, &ALIGNMENT)?;
        }
        Ok(made)
    }

    fn set<T>(
        &self,
        name: sys::cublasLtMatmulPreferenceAttributes_t,
        value: &T,
    ) -> std::result::Result<(), CublasError> {
        // SAFETY: it lives, and as many bytes are read as the value has.
        unsafe { result::set_matmul_pref_attribute(self.0, name, std::ptr::from_ref(value).cast(), size_of::<T>()) }
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: it was made here, and is used by nobody after this. What cannot be given back is lost, and no more.
        unsafe { result::destroy_matmul_pref(self.0) }.unwrap_or_default();
    }
}
