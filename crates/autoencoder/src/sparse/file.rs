//! Reading and writing of sparse autoencoders: folders of SAELens, and archives of Gemma Scope.
//!
//! SAELens writes `cfg.json` and `sae_weights.safetensors` with `W_enc` \[d_in, d_sae\], `W_dec` \[d_sae, d_in\], `b_dec` and, by
//! architecture, `b_enc`, `threshold`, or `b_gate`, `r_mag` and `b_mag`. Gemma Scope has one `params.npz` with `W_enc`, `b_enc`,
//! `W_dec`, `b_dec` and `threshold`; its encoder does not take b_dec away.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::npz::Npz;
use super::{Gate, SparseError, Weights};

/// Settings of SAELens.
const CONFIG: &str = "cfg.json";
/// Its weights.
const WEIGHTS: &str = "sae_weights.safetensors";
/// The archive of Gemma Scope.
const ARCHIVE: &str = "params.npz";
/// Largest `cfg.json` that is read.
const MOST_CONFIG: u64 = 1 << 20;

/// What of `cfg.json` says how to compute; earlier versions of SAELens have other names for some of it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Settings {
    architecture: Option<String>,
    d_in: usize,
    d_sae: usize,
    apply_b_dec_to_input: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activation_fn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activation_fn_str: Option<String>,
    #[serde(skip_serializing_if = "Kwargs::is_empty")]
    activation_fn_kwargs: Kwargs,
    normalize_activations: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reshape_activations: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finetuning_scaling_factor: Option<bool>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    rescale_acts_by_decoder_norm: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kwargs {
    k: Option<usize>,
}

impl Kwargs {
    fn is_empty(&self) -> bool {
        self.k.is_none()
    }
}

/// Reads a tensor of this name and shape.
type Part<'a> = &'a dyn Fn(&'static str, &[usize]) -> Result<Vec<f32>, SparseError>;

/// Where the parts of one lie.
enum Layout {
    Lens { config: PathBuf, weights: PathBuf },
    Archive(PathBuf),
}

impl Layout {
    /// # Errors
    /// The path holds neither of the two layouts.
    fn of(path: &Path) -> Result<Layout, SparseError> {
        let beside = |weights: &Path| Layout::Lens {
            config: weights.with_file_name(CONFIG),
            weights: weights.to_owned(),
        };
        let ends = |ending: &str| path.extension().is_some_and(|e| e == ending);
        let meta = std::fs::metadata(path).map_err(SparseError::io(path))?;
        match meta.is_dir() {
            true if path.join(WEIGHTS).is_file() => Ok(beside(&path.join(WEIGHTS))),
            true if path.join(ARCHIVE).is_file() => Ok(Layout::Archive(path.join(ARCHIVE))),
            false if ends("npz") => Ok(Layout::Archive(path.to_owned())),
            false if ends("safetensors") => Ok(beside(path)),
            _ => Err(SparseError::malformed(
                path,
                format!(
                    "not a sparse autoencoder; a folder with {CONFIG} and {WEIGHTS} (SAELens), or {ARCHIVE} (Gemma Scope), or such \
                     a file works"
                ),
            )),
        }
    }
}

impl Weights {
    /// Reads a sparse autoencoder from a folder of SAELens or Gemma Scope, or from the file of weights in it.
    ///
    /// # Errors
    /// A file is missing or is something else, a setting is not supported, or the parts don't fit together.
    pub fn load(path: &Path) -> Result<Weights, SparseError> {
        let weights = match Layout::of(path)? {
            Layout::Lens { config, weights } => lens(&config, &weights)?,
            Layout::Archive(archive) => scope(&archive)?,
        };
        weights.check()?;
        Ok(weights)
    }

    /// Returns the width of the states and the number of features; only the headers of the files are read.
    ///
    /// # Errors
    /// The errors are those of [`Weights::load`] that the headers already show.
    pub fn peek(path: &Path) -> Result<(usize, usize), SparseError> {
        let (file, shape) = match Layout::of(path)? {
            Layout::Lens { weights, .. } => {
                let file = std::fs::File::open(&weights).map_err(SparseError::io(&weights))?;
                let shape = head(&weights, file)?;
                (weights, shape)
            }
            Layout::Archive(archive) => {
                let shape = Npz::open(&archive)?.shape("W_enc")?;
                (archive, shape)
            }
        };
        match shape[..] {
            [width, features] => Ok((width, features)),
            _ => Err(SparseError::malformed(
                &file,
                format!("`W_enc` is {shape:?}, no matrix"),
            )),
        }
    }

    /// Writes a folder in the layout of SAELens.
    ///
    /// # Errors
    /// The folder or a file can't be written.
    pub fn save(&self, folder: &Path) -> Result<(), SparseError> {
        self.check()?;
        std::fs::create_dir_all(folder).map_err(SparseError::io(folder))?;
        let settings = Settings {
            architecture: Some(self.gate.name().to_owned()),
            d_in: self.width,
            d_sae: self.features,
            apply_b_dec_to_input: Some(self.centred),
            k: match self.gate {
                Gate::TopK(k) => Some(k),
                _ => None,
            },
            normalize_activations: Some("none".into()),
            ..Settings::default()
        };
        let (width, features) = (self.width, self.features);
        let mut parts = vec![
            ("W_enc", vec![width, features], &self.encoder),
            ("W_dec", vec![features, width], &self.decoder),
            ("b_dec", vec![width], &self.decoder_bias),
        ];
        let bias = vec![features];
        match &self.gate {
            Gate::Gated {
                scale,
                bias: magnitude,
            } => {
                parts.push(("b_gate", bias.clone(), &self.encoder_bias));
                parts.push(("r_mag", bias.clone(), scale));
                parts.push(("b_mag", bias, magnitude));
            }
            Gate::JumpRelu(thresholds) => {
                parts.push(("b_enc", bias.clone(), &self.encoder_bias));
                parts.push(("threshold", bias, thresholds));
            }
            Gate::Relu | Gate::TopK(_) => parts.push(("b_enc", bias, &self.encoder_bias)),
        }
        let bytes = |values: &Vec<f32>| values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let bytes: Vec<Vec<u8>> = parts.iter().map(|(_, _, values)| bytes(values)).collect();
        let views = parts.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            (*name, view.expect("shape and values were checked"))
        });
        let path = folder.join(WEIGHTS);
        let out = safetensors::serialize(views, None)
            .map_err(|e| SparseError::malformed(&path, e.to_string()))?;
        interlingua_files::write(&path, &out).map_err(SparseError::io(&path))?;
        let text = serde_json::to_string_pretty(&settings).expect("settings are plain data");
        let path = folder.join(CONFIG);
        interlingua_files::write(&path, text.as_bytes()).map_err(SparseError::io(&path))
    }
}

/// The shape of `W_enc`, from the header of a safetensors file.
fn head(path: &Path, mut file: std::fs::File) -> Result<Vec<usize>, SparseError> {
    use std::io::Read;
    let cut = |_| SparseError::malformed(path, "its header is cut off");
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(cut)?;
    // As the format itself allows.
    let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > 100_000_000 {
        return Err(SparseError::malformed(path, "not a safetensors file"));
    }
    let mut text = Vec::new();
    let read = file
        .take(length as u64)
        .read_to_end(&mut text)
        .map_err(SparseError::io(path))?;
    #[derive(Deserialize)]
    struct Entry {
        shape: Vec<usize>,
    }
    let all: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_slice(&text);
    let all = all.ok().filter(|_| read == length);
    let all = all.ok_or_else(|| SparseError::malformed(path, "not a safetensors file"))?;
    let entry = all
        .get("W_enc")
        .cloned()
        .ok_or_else(|| SparseError::Missing {
            path: path.to_owned(),
            name: "W_enc",
            found: all.keys().cloned().collect(),
        })?;
    let entry: Entry = serde_json::from_value(entry)
        .map_err(|e| SparseError::malformed(path, format!("`W_enc`: {e}")))?;
    Ok(entry.shape)
}

fn scope(path: &Path) -> Result<Weights, SparseError> {
    let mut archive = Npz::open(path)?;
    let (shape, encoder) = archive.array("W_enc")?;
    let (width, features) = matrix(path, &shape)?;
    let mut part = |name: &'static str, expected: &[usize]| -> Result<Vec<f32>, SparseError> {
        let (shape, values) = archive.array(name)?;
        fits(name, &shape, expected)?;
        Ok(values)
    };
    Ok(Weights {
        width,
        features,
        encoder,
        decoder: part("W_dec", &[features, width])?,
        encoder_bias: part("b_enc", &[features])?,
        decoder_bias: part("b_dec", &[width])?,
        centred: false,
        gate: Gate::JumpRelu(part("threshold", &[features])?),
    })
}

fn lens(config: &Path, path: &Path) -> Result<Weights, SparseError> {
    let settings = settings(config)?;
    let bytes = std::fs::read(path).map_err(SparseError::io(path))?;
    let tensors = SafeTensors::deserialize(&bytes)
        .map_err(|e| SparseError::malformed(path, e.to_string()))?;
    let read = |name: &'static str| -> Result<(Vec<usize>, Vec<f32>), SparseError> {
        let view = tensors.tensor(name).map_err(|_| SparseError::Missing {
            path: path.to_owned(),
            name,
            found: tensors.names().into_iter().map(str::to_owned).collect(),
        })?;
        Ok((view.shape().to_vec(), numbers(path, name, &view)?))
    };
    let (shape, encoder) = read("W_enc")?;
    let (width, features) = matrix(path, &shape)?;
    for (key, typed, found) in [
        ("d_in", settings.d_in, width),
        ("d_sae", settings.d_sae, features),
    ] {
        if typed != 0 && typed != found {
            let problem = format!("`{key}` of {CONFIG} is {typed}, and `W_enc` says {found}");
            return Err(SparseError::malformed(config, problem));
        }
    }
    let part = |name: &'static str, expected: &[usize]| -> Result<Vec<f32>, SparseError> {
        let (shape, values) = read(name)?;
        fits(name, &shape, expected)?;
        Ok(values)
    };
    if tensors.tensor("scaling_factor").is_ok()
        && part("scaling_factor", &[features])?
            .iter()
            .any(|&x| x != 1.0)
    {
        return Err(unsupported(
            path,
            "scaling_factor",
            "a factor for each feature",
            "one without it",
        ));
    }
    let gate = gate(config, &settings, &part, features)?;
    let bias = match gate {
        Gate::Gated { .. } => "b_gate",
        _ => "b_enc",
    };
    let mut weights = Weights {
        width,
        features,
        encoder,
        decoder: part("W_dec", &[features, width])?,
        encoder_bias: part(bias, &[features])?,
        decoder_bias: part("b_dec", &[width])?,
        centred: settings.apply_b_dec_to_input.unwrap_or(true),
        gate,
    };
    if settings.rescale_acts_by_decoder_norm {
        weights.fold_norms();
    }
    Ok(weights)
}

fn gate(
    config: &Path,
    settings: &Settings,
    part: Part<'_>,
    features: usize,
) -> Result<Gate, SparseError> {
    let activation = settings.activation_fn.as_deref();
    let activation = activation.or(settings.activation_fn_str.as_deref());
    let architecture = settings.architecture.as_deref().unwrap_or("standard");
    match (architecture, activation.unwrap_or("relu")) {
        ("topk", _) | ("standard", "topk") => {
            let k = settings.k.or(settings.activation_fn_kwargs.k);
            let k =
                k.ok_or_else(|| SparseError::malformed(config, "a TopK autoencoder without `k`"))?;
            Ok(Gate::TopK(k))
        }
        ("standard", "relu") => Ok(Gate::Relu),
        ("jumprelu", "relu") => Ok(Gate::JumpRelu(part("threshold", &[features])?)),
        ("gated", "relu") => Ok(Gate::Gated {
            scale: part("r_mag", &[features])?,
            bias: part("b_mag", &[features])?,
        }),
        ("standard" | "jumprelu" | "gated", other) => {
            Err(unsupported(config, "activation_fn", other, "relu or topk"))
        }
        (other, _) => Err(unsupported(
            config,
            "architecture",
            other,
            "standard, jumprelu, topk or gated",
        )),
    }
}

fn settings(path: &Path) -> Result<Settings, SparseError> {
    let size = std::fs::metadata(path)
        .map_err(SparseError::io(path))?
        .len();
    if size > MOST_CONFIG {
        return Err(SparseError::malformed(
            path,
            format!("{size} bytes, more than settings take ({MOST_CONFIG})"),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(SparseError::io(path))?;
    let found: Settings = serde_json::from_str(&text)
        .map_err(|e| SparseError::malformed(path, format!("not settings of SAELens: {e}")))?;
    match found.normalize_activations.as_deref() {
        // Its factor is folded into the weights when they are written.
        None | Some("none" | "expected_average_only_in") => {}
        Some(other) => {
            return Err(unsupported(path, "normalize_activations", other, "none"));
        }
    }
    match found.reshape_activations.as_deref() {
        None | Some("none" | "hook_z") => Ok(found),
        Some(other) => Err(unsupported(
            path,
            "reshape_activations",
            other,
            "none or hook_z",
        )),
    }
}

fn unsupported(path: &Path, key: &'static str, value: &str, known: &'static str) -> SparseError {
    SparseError::Unsupported {
        path: path.to_owned(),
        key,
        value: value.to_owned(),
        known,
    }
}

fn matrix(path: &Path, shape: &[usize]) -> Result<(usize, usize), SparseError> {
    match shape {
        [width, features] => Ok((*width, *features)),
        _ => Err(SparseError::malformed(
            path,
            format!("`W_enc` is {shape:?}, no matrix"),
        )),
    }
}

fn fits(what: &'static str, shape: &[usize], expected: &[usize]) -> Result<(), SparseError> {
    if shape == expected {
        return Ok(());
    }
    Err(SparseError::Shape {
        what,
        expected: format!("{expected:?}"),
        found: format!("{shape:?}"),
    })
}

/// Numbers in single precision, which holds those of half precision exactly.
fn numbers(path: &Path, name: &str, view: &TensorView<'_>) -> Result<Vec<f32>, SparseError> {
    let halves = || view.data().as_chunks::<2>().0.iter();
    match view.dtype() {
        Dtype::F32 => {
            let numbers = view.data().as_chunks::<4>().0.iter();
            Ok(numbers.map(|b| f32::from_le_bytes(*b)).collect())
        }
        Dtype::F16 => Ok(halves()
            .map(|b| half::f16::from_le_bytes(*b).to_f32())
            .collect()),
        Dtype::BF16 => Ok(halves()
            .map(|b| half::bf16::from_le_bytes(*b).to_f32())
            .collect()),
        other => Err(SparseError::malformed(
            path,
            format!("`{name}` is {other:?}; F32, F16 and BF16 are read"),
        )),
    }
}

impl Weights {
    /// The same features measured in the length of their decoder rows: p and z grow by it, and the rows become one long.
    fn fold_norms(&mut self) {
        let rows = self.decoder.chunks_exact_mut(self.width);
        for (at, row) in rows.enumerate() {
            let norm = row
                .iter()
                .map(|x| f64::from(*x).powi(2))
                .sum::<f64>()
                .sqrt() as f32;
            row.iter_mut().for_each(|x| *x /= norm);
            self.encoder_bias[at] *= norm;
            let column = self.encoder.iter_mut().skip(at).step_by(self.features);
            column.for_each(|x| *x *= norm);
        }
    }
}
