//! Opens the device that `--device auto|cpu|wgpu|cuda[:N]` names, or returns an error that says what would work.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, OnceLock};

use burn::tensor::backend::Backend as _;
use burn::tensor::{DType, backend::DTypeUsage};

use crate::Tensor;

/// The device that holds a tensor.
pub type Device = burn::DispatchDevice;

/// The device that a user names after `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceName {
    /// CUDA if this build supports it and a driver answers, otherwise the CPU.
    #[default]
    Auto,
    /// The CPU (backend burn-flex).
    Cpu,
    /// The default wgpu adapter.
    Wgpu,
    /// The CUDA device with this index.
    Cuda(usize),
}

/// The reason why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The text is not the name of a device.
    #[error("unknown device `{0}`: use `auto`, `cpu`, `wgpu`, `cuda` or `cuda:N`")]
    Unknown(String),
    /// The program was built without this backend.
    #[error(
        "this build has no {backend} backend: build with `--features {feature}`, or use `--device cpu`"
    )]
    NotBuilt {
        /// The backend that was asked for.
        backend: &'static str,
        /// The cargo feature that adds the backend.
        feature: &'static str,
    },
    /// The program was built with this backend, but the machine has no driver for it.
    #[error("no usable {backend} device: {reason}; use `--device cpu`, or install the driver")]
    NoDriver {
        /// The backend that was asked for.
        backend: &'static str,
        /// The error that was found when looking for the device.
        reason: String,
    },
    /// The device does not support this precision.
    #[error("{device} cannot compute in {precision}: use `--precision f32`, or another device")]
    Precision {
        /// The name of the device.
        device: String,
        /// The precision that was asked for.
        precision: Precision,
    },
    /// The text is not the name of a precision.
    #[error("unknown precision `{0}`: use `f32` or `bf16`")]
    UnknownPrecision(String),
}

/// The precision to which the factors of a model's matrix products are rounded.
///
/// Sums have the precision of the device, and everything between products is `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// The factors are not rounded.
    #[default]
    F32,
    /// The factors and the products themselves are rounded to bfloat16. This takes half the memory and uses the fast
    /// units of a GPU. On the CPU it is slower than `F32`, and is useful only to see the effect of the rounding.
    Bf16,
}

impl Precision {
    /// Returns the number of bytes of one value of a matrix.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// Returns the tensor with its values rounded to this precision.
    pub fn cast<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        x.cast(match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        })
    }

    /// Checks that a device supports this precision.
    ///
    /// # Errors
    /// [`DeviceError::Precision`] if it does not.
    pub fn check(self, device: &Device) -> Result<(), DeviceError> {
        let usage = match self {
            Self::F32 => return Ok(()),
            Self::Bf16 => crate::Backend::dtype_usage(device, DType::BF16),
        };
        match usage.contains(DTypeUsage::Storage) {
            true => Ok(()),
            false => Err(DeviceError::Precision {
                device: describe(device),
                precision: self,
            }),
        }
    }
}

impl FromStr for Precision {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(DeviceError::UnknownPrecision(text.to_owned())),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for DeviceName {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "wgpu" => Ok(Self::Wgpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| DeviceError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Wgpu => f.write_str("wgpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

impl DeviceName {
    /// Opens the device.
    ///
    /// # Errors
    /// A backend that the program was built without, or a driver that the machine does not have.
    pub fn open(self) -> Result<Device, DeviceError> {
        match self {
            Self::Auto => Ok(open_cuda(0).unwrap_or_else(|_| cpu())),
            Self::Cpu => Ok(cpu()),
            Self::Wgpu => open_wgpu(),
            Self::Cuda(index) => open_cuda(index),
        }
    }
}

/// Returns the CPU device.
pub fn cpu() -> Device {
    Device::Flex(Default::default())
}

/// Returns whether the fused CPU kernels may run on tensors of this device.
///
/// It is false under autodiff, where every operation must be recorded.
pub fn is_plain_cpu(device: &Device) -> bool {
    matches!(device, Device::Flex(_))
}

/// Runs `work` for every item, on as many items at a time as there are threads, each item on one thread only.
///
/// This is the fastest way for many small pieces of work, because threads never wait for each other within one. The
/// result for an item is the same as on all threads.
pub fn side_by_side<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let pools = single_threads();
    if pools.len() < 2 || items.len() < 2 {
        return items.into_iter().map(work).collect();
    }
    let count = items.len();
    let queue = Mutex::new(items.into_iter().enumerate());
    let next = || queue.lock().expect("the queue never panics").next();
    let mut found: Vec<Option<R>> = (0..count).map(|_| None).collect();
    std::thread::scope(|scope| {
        let workers: Vec<_> = pools
            .iter()
            .take(count)
            .map(|pool| {
                let own = || {
                    let mut done = Vec::new();
                    while let Some((at, item)) = next() {
                        done.push((at, work(item)));
                    }
                    done
                };
                scope.spawn(move || pool.install(own))
            })
            .collect();
        for worker in workers {
            match worker.join() {
                Ok(done) => done.into_iter().for_each(|(at, r)| found[at] = Some(r)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    let found = found.into_iter();
    found.map(|r| r.expect("every item was taken")).collect()
}

/// Runs `work` on one of the threads that share products. Work that consists of many small products ends sooner there,
/// because a thread from outside would hand over every product and sleep until it is done.
pub fn among_threads<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::join(work, || ()).0
}

/// Returns the instruction sets of the processor by which kernels are chosen. Processors with and without `fma` give
/// results that differ by rounding.
pub fn cpu_features() -> Vec<&'static str> {
    #[allow(unused_mut)]
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! add {
            ($($name:tt),*) => {
                $(if std::arch::is_x86_feature_detected!($name) { found.push($name); })*
            };
        }
        add!(
            "sse4.2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"
        );
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        found.push("neon");
    }
    found
}

/// Returns how many items [`side_by_side`] works on at a time.
pub fn threads() -> usize {
    single_threads().len().max(1)
}

/// One pool of one thread for each thread that rayon uses.
fn single_threads() -> &'static [rayon::ThreadPool] {
    static POOLS: OnceLock<Vec<rayon::ThreadPool>> = OnceLock::new();
    POOLS.get_or_init(|| {
        let pool = |_| rayon::ThreadPoolBuilder::new().num_threads(1).build();
        // A system that gives no more threads leaves the work to the caller.
        let pools = (0..rayon::current_num_threads()).map(pool);
        pools.collect::<Result<_, _>>().unwrap_or_default()
    })
}

/// Returns a short name of the device for logs and manifests.
pub fn describe(device: &Device) -> String {
    format!("{device:?}")
}

#[cfg(feature = "wgpu")]
fn open_wgpu() -> Result<Device, DeviceError> {
    let device = Device::Wgpu(Default::default());
    probe("wgpu", device)
}

#[cfg(not(feature = "wgpu"))]
fn open_wgpu() -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt {
        backend: "wgpu",
        feature: "wgpu",
    })
}

#[cfg(feature = "cuda")]
fn open_cuda(index: usize) -> Result<Device, DeviceError> {
    // burn's CUDA runtime panics without a driver, so the driver's own device
    // node is looked for before the runtime is touched.
    if !std::path::Path::new("/proc/driver/nvidia/version").exists()
        && !std::path::Path::new("/dev/nvidiactl").exists()
        && cfg!(target_os = "linux")
    {
        return Err(DeviceError::NoDriver {
            backend: "CUDA",
            reason: "the NVIDIA kernel driver is not loaded".into(),
        });
    }
    probe(
        "CUDA",
        Device::Cuda(burn::backend::cuda::CudaDevice::new(index)),
    )
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(_index: usize) -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt {
        backend: "CUDA",
        feature: "cuda",
    })
}

/// Adds two numbers on the device; a runtime that panics becomes an error.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn probe(backend: &'static str, device: Device) -> Result<Device, DeviceError> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let trial = device.clone();
    let outcome = std::panic::catch_unwind(move || {
        let one = crate::Tensor::<1>::ones([2], &trial);
        crate::to_host(one.clone() + one)
    });
    std::panic::set_hook(hook);
    match outcome {
        Ok(values) if values == [2.0, 2.0] => Ok(device),
        Ok(values) => Err(DeviceError::NoDriver {
            backend,
            reason: format!("1 + 1 came out as {values:?}"),
        }),
        Err(panic) => {
            let reason = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
                .unwrap_or_else(|| "its runtime panicked".into());
            Err(DeviceError::NoDriver {
                backend,
                reason: reason.lines().next().unwrap_or("").to_owned(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_side_by_side_comes_back_in_order() {
        for count in [0usize, 1, 2, 37] {
            let threads = |i: usize| (i * i, rayon::current_num_threads());
            let found = side_by_side((0..count).collect(), threads);
            let squares: Vec<usize> = found.iter().map(|r| r.0).collect();
            assert_eq!(squares, (0..count).map(|i| i * i).collect::<Vec<_>>());
            assert!(count < 2 || found.iter().all(|r| r.1 == 1));
        }
    }

    #[test]
    fn work_side_by_side_panics_where_it_stands() {
        let result = std::panic::catch_unwind(|| {
            side_by_side(vec![1, 2, 3], |i| assert!(i != 2, "two is too much"))
        });
        let message = *result.unwrap_err().downcast::<&str>().unwrap();
        assert_eq!(message, "two is too much");
    }

    #[test]
    fn names_parse_and_print() {
        for text in ["auto", "cpu", "wgpu", "cuda:0", "cuda:3"] {
            assert_eq!(text.parse::<DeviceName>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse::<DeviceName>().unwrap(), DeviceName::Cuda(0));
        for text in ["", "gpu", "cuda:", "cuda:x", "CPU"] {
            assert_eq!(
                text.parse::<DeviceName>(),
                Err(DeviceError::Unknown(text.into()))
            );
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn cuda_without_the_feature_says_how_to_get_it() {
        let message = DeviceName::Cuda(0).open().unwrap_err().to_string();
        assert!(
            message.contains("--features cuda") && message.contains("--device cpu"),
            "{message}"
        );
    }
}
