//! Devices, tensors, the CPU kernels, the optimiser, and the loop of training.
//!
//! All crates above this one use [`Tensor`] on burn's `Dispatch` backend: there is one compiled path, and the device
//! is chosen at run time. Only the functions of [`ops`] depend on the device. On the CPU they run fused kernels on
//! the tensors' own memory; on every other device, and under autodiff, they are plain burn operations. The two are
//! tested against each other.

#[allow(unsafe_code)]
// For the run-time choice of instruction set that `multiversion` generates, and what `product` says.
mod kernels;

pub mod device;
pub mod ops;
pub mod optim;
pub mod steps;

pub use device::{Device, DeviceError, DeviceName, Precision};

/// The backend that all crates use.
pub type Backend = burn::Dispatch;
/// A float tensor on any device.
pub type Tensor<const D: usize> = burn::tensor::Tensor<Backend, D>;
/// An integer tensor on any device.
pub type IntTensor<const D: usize> = burn::tensor::Tensor<Backend, D, burn::tensor::Int>;

use burn::tensor::DType;

pub use burn::tensor::TensorData;

/// Makes a tensor from row-major host values.
///
/// # Shapes
/// `values` has `rows × cols` elements; the result is `[rows, cols]`.
pub fn from_rows(values: Vec<f32>, rows: usize, cols: usize, device: &Device) -> Tensor<2> {
    assert_eq!(
        values.len(),
        rows * cols,
        "from_rows: {} values for [{rows}, {cols}]",
        values.len()
    );
    Tensor::from_data(TensorData::new(values, [rows, cols]), device)
}

/// Makes a tensor of bfloat16 from the bits of row-major values.
///
/// # Shapes
/// The shapes are those of [`from_rows`].
pub fn from_bf16_rows(bits: Vec<u16>, rows: usize, cols: usize, device: &Device) -> Tensor<2> {
    assert_eq!(bits.len(), rows * cols, "values for [{rows}, {cols}]");
    let bytes = burn::tensor::Bytes::from_elems(bits);
    let data = TensorData::from_bytes(bytes, [rows, cols], DType::BF16);
    Tensor::from_data(data, (device, DType::BF16))
}

/// The values of a tensor, which a kernel can read and change without a copy.
///
/// Taking the values costs no copy on the CPU if the tensor is contiguous and not shared, and giving them back never
/// does. ([`to_host`] avoids a copy only for tensors that were made from a `Vec<f32>`.)
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

    /// Makes a tensor of the values again, on `device`.
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

/// Returns the values of a tensor in host memory, row-major, as `f32`.
///
/// It costs no copy on the CPU if the tensor is contiguous and not shared.
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data();
    let data = if data.dtype == DType::F32 {
        data
    } else {
        data.convert::<f32>()
    };
    data.into_vec::<f32>().expect("converted to f32 above")
}
