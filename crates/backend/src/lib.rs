//! Device names, tensor aliases, the CPU kernels that matter, and the optimiser.
//!
//! Everything above this crate is written against [`Tensor`] on burn's
//! `Dispatch` backend: one compiled path, the device chosen at run time. The
//! functions of [`ops`] are the only seam: on the CPU they run fused kernels on
//! the tensors' own memory, on every other device (and under autodiff) they are
//! plain burn operations. The two are tested against each other.

#[allow(unsafe_code)]
// For the run-time choice of instruction set that `multiversion` generates, and what `product` says.
mod kernels;

pub mod device;
pub mod ops;
pub mod optim;

pub use device::{Device, DeviceError, DeviceName, Precision};

/// The backend every crate is written against.
pub type Backend = burn::Dispatch;
/// A float tensor on any device.
pub type Tensor<const D: usize> = burn::tensor::Tensor<Backend, D>;
/// An integer tensor on any device.
pub type IntTensor<const D: usize> = burn::tensor::Tensor<Backend, D, burn::tensor::Int>;

use burn::tensor::DType;

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

/// A tensor of bfloat16 from the bits of row-major values.
///
/// # Shapes
/// As [`from_rows`].
pub fn from_bf16_rows(bits: Vec<u16>, rows: usize, cols: usize, device: &Device) -> Tensor<2> {
    assert_eq!(bits.len(), rows * cols, "values for [{rows}, {cols}]");
    let bytes = burn::tensor::Bytes::from_elems(bits);
    let data = TensorData::from_bytes(bytes, [rows, cols], DType::BF16);
    Tensor::from_data(data, (device, DType::BF16))
}

/// The values of a tensor where they lie, to be read and changed by a kernel.
///
/// Taking them costs no copy on the CPU when the tensor is contiguous and nobody else holds it, and
/// giving them back never does. ([`to_host`] can only do so for tensors that began as a `Vec<f32>`.)
pub struct Host(TensorData);

impl Host {
    /// # Shapes
    /// The values are row-major.
    pub fn of<const D: usize>(tensor: Tensor<D>) -> Host {
        let data = tensor.into_data();
        Host(match data.dtype {
            DType::F32 => data,
            _ => data.convert::<f32>(),
        })
    }

    /// The tensor again, on `device`.
    pub fn tensor<const D: usize>(self, device: &Device) -> Tensor<D> {
        Tensor::from_data(self.0, device)
    }
}

impl From<Vec<f32>> for Host {
    fn from(values: Vec<f32>) -> Host {
        let len = values.len();
        Host(TensorData::new(values, [len]))
    }
}

impl std::ops::Deref for Host {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.0.as_slice().expect("made of f32")
    }
}

impl std::ops::DerefMut for Host {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.0.as_mut_slice().expect("made of f32")
    }
}

/// The values of a tensor on the host, row-major, as `f32`.
///
/// Costs no copy on the CPU when the tensor is contiguous and not shared.
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data();
    let data = if data.dtype == DType::F32 {
        data
    } else {
        data.convert::<f32>()
    };
    data.into_vec::<f32>().expect("converted to f32 above")
}
