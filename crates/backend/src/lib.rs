//! Device names, tensor aliases, the CPU kernels that matter, and the optimiser.
//!
//! Everything above this crate is written against [`Tensor`] on burn's
//! `Dispatch` backend: one compiled path, the device chosen at run time. The
//! functions of [`ops`] are the only seam: on the CPU they run fused kernels on
//! the tensors' own memory, on every other device (and under autodiff) they are
//! plain burn operations. The two are tested against each other.

#[allow(unsafe_code)]
// Only for the run-time choice of instruction set that `multiversion` generates.
mod kernels;

pub mod device;
pub mod ops;
pub mod optim;

pub use device::{Device, DeviceError, DeviceName};

/// The backend every crate is written against.
pub type Backend = burn::Dispatch;
/// A float tensor on any device.
pub type Tensor<const D: usize> = burn::tensor::Tensor<Backend, D>;
/// An integer tensor on any device.
pub type IntTensor<const D: usize> = burn::tensor::Tensor<Backend, D, burn::tensor::Int>;

pub use burn::tensor::TensorData;

/// A tensor from row-major host values.
///
/// # Shapes
/// `values`: `rows × cols` elements, result `[rows, cols]`.
pub fn from_rows(values: Vec<f32>, rows: usize, cols: usize, device: &Device) -> Tensor<2> {
    assert_eq!(
        values.len(),
        rows * cols,
        "from_rows: {} values for [{rows}, {cols}]",
        values.len()
    );
    Tensor::from_data(TensorData::new(values, [rows, cols]), device)
}

/// The values of a tensor on the host, row-major, as `f32`.
///
/// Costs no copy on the CPU when the tensor is contiguous and not shared.
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data();
    let data = if data.dtype == burn::tensor::DType::F32 {
        data
    } else {
        data.convert::<f32>()
    };
    data.into_vec::<f32>().expect("converted to f32 above")
}
