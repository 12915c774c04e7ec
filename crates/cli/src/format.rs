//! What an edited model is given back as.

/// The form in which an edited model is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A file with the edit, which this program applies when the model runs, or twenty lines of Python in
    /// transformers do.
    Edit,
    /// A checkpoint folder for transformers with the edit in its weights; MODEL must be such a folder.
    Hf,
    /// A LoRA adapter for PEFT.
    Peft,
    /// A GGUF file with the edit in its weights; MODEL must be a GGUF file.
    Gguf,
    /// A LoRA adapter for llama.cpp, for any quantisation of the model.
    GgufLora,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Format::Edit => "edit",
            Format::Hf => "hf",
            Format::Peft => "peft",
            Format::Gguf => "gguf",
            Format::GgufLora => "gguf-lora",
        })
    }
}
