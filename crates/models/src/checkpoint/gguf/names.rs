//! GGUF's names for the tensors of an architecture, and the changes that its converter makes to their values.

use crate::checkpoint::layout::{Layout, Order};

/// The rules by which the tensor names of one architecture are translated.
#[derive(Debug)]
pub(crate) struct Names {
    /// Pairs of GGUF's name and the architecture's, without `.weight` and `.bias`, for tensors outside the blocks.
    pub whole: &'static [(&'static str, &'static str)],
    /// The architecture's name for what GGUF calls `blk`.
    pub blocks: &'static str,
    /// Pairs of GGUF's name and the architecture's within a block.
    pub block: &'static [(&'static str, &'static str)],
    /// The change that the converter makes.
    pub change: Change,
}

/// The change that GGUF's converter makes to the tensors of an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    /// Rows of queries and keys are paired.
    Pairs,
    /// All norms hold 1 + w.
    Gains,
    /// Matrices of blocks are transposed.
    Transposed,
    /// Queries, keys and values of all heads stand together.
    Heads,
}

/// The sizes on which the order of rows depends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads {
    pub heads: usize,
    pub head_dim: usize,
}

impl Names {
    /// Returns the architecture's name of a tensor, and how the file's values differ; `None` for a name that the
    /// architecture does not have.
    pub fn of(&self, name: &str, heads: Heads) -> Option<(String, Layout)> {
        let (stem, end) = name.rsplit_once('.')?;
        if !["weight", "bias"].contains(&end) {
            return None;
        }
        let find = |list: &[(&str, &'static str)], part: &str| {
            list.iter().find(|(of, _)| *of == part).map(|(_, to)| *to)
        };
        let Some((number, part)) = stem.strip_prefix("blk.").and_then(|s| s.split_once('.')) else {
            let to = find(self.whole, stem)?;
            let layout = match self.change {
                Change::Gains if stem.ends_with("norm") => Layout::LargerByOne,
                _ => Layout::Same,
            };
            return Some((format!("{to}.{end}"), layout));
        };
        let plain = number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty();
        let to = find(self.block, part).filter(|_| plain)?;
        let layout = self.layout(part, end, heads);
        Some((format!("{}.{number}.{to}.{end}", self.blocks), layout))
    }

    /// Returns the file's name of an architecture's tensor, and how the file's values differ. It is the inverse of
    /// [`Names::of`].
    pub fn in_file(&self, tensor: &str, heads: Heads) -> Option<(String, Layout)> {
        let (stem, end) = tensor.rsplit_once('.')?;
        let find = |list: &[(&'static str, &str)], part: &str| {
            list.iter().find(|(_, to)| *to == part).map(|(of, _)| *of)
        };
        let within = stem
            .strip_prefix(self.blocks)
            .and_then(|s| s.strip_prefix('.'));
        let name = match within.and_then(|s| s.split_once('.')) {
            Some((number, part)) => format!("blk.{number}.{}.{end}", find(self.block, part)?),
            None => format!("{}.{end}", find(self.whole, stem)?),
        };
        let (back, layout) = self.of(&name, heads)?;
        (back == tensor).then_some((name, layout))
    }

    fn layout(&self, part: &str, end: &str, Heads { heads, head_dim }: Heads) -> Layout {
        match self.change {
            Change::Pairs if ["attn_q", "attn_k"].contains(&part) => {
                Layout::Rows(Order::Pairs { head_dim })
            }
            Change::Gains if part.ends_with("norm") => Layout::LargerByOne,
            Change::Transposed if end == "weight" && !part.ends_with("norm") => Layout::Transposed,
            Change::Heads if part == "attn_qkv" => Layout::Rows(Order::Heads { heads, head_dim }),
            _ => Layout::Same,
        }
    }
}

const DECODER: &[(&str, &str)] = &[
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
];

pub(super) const LLAMA: Names = Names {
    whole: DECODER,
    blocks: "model.layers",
    block: LLAMA_BLOCK,
    change: Change::Pairs,
};

/// The names of Qwen 2 and 3.
pub(super) const QWEN: Names = Names {
    change: Change::Nothing,
    ..LLAMA
};

const LLAMA_BLOCK: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The names of Command R and Cohere 2, whose blocks have one norm.
pub(super) const COHERE: Names = Names {
    change: Change::Nothing,
    ..LLAMA
};

/// The names of Gemma 2 and 3.
pub(super) const GEMMA: Names = Names {
    whole: DECODER,
    blocks: "model.layers",
    block: &[
        ("attn_norm", "input_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("attn_q_norm", "self_attn.q_norm"),
        ("attn_k_norm", "self_attn.k_norm"),
        ("post_attention_norm", "post_attention_layernorm"),
        ("ffn_norm", "pre_feedforward_layernorm"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
        ("post_ffw_norm", "post_feedforward_layernorm"),
    ],
    change: Change::Gains,
};

pub(super) const GPT2: Names = Names {
    whole: &[
        ("token_embd", "transformer.wte"),
        ("position_embd", "transformer.wpe"),
        ("output_norm", "transformer.ln_f"),
        ("output", "lm_head"),
    ],
    blocks: "transformer.h",
    block: &[
        ("attn_norm", "ln_1"),
        ("attn_qkv", "attn.c_attn"),
        ("attn_output", "attn.c_proj"),
        ("ffn_norm", "ln_2"),
        ("ffn_up", "mlp.c_fc"),
        ("ffn_down", "mlp.c_proj"),
    ],
    change: Change::Transposed,
};

pub(super) const BLOOM: Names = Names {
    whole: &[
        ("token_embd", "transformer.word_embeddings"),
        ("token_embd_norm", "transformer.word_embeddings_layernorm"),
        ("output_norm", "transformer.ln_f"),
        ("output", "lm_head"),
    ],
    blocks: "transformer.h",
    block: &[
        ("attn_norm", "input_layernorm"),
        ("attn_qkv", "self_attention.query_key_value"),
        ("attn_output", "self_attention.dense"),
        ("ffn_norm", "post_attention_layernorm"),
        ("ffn_up", "mlp.dense_h_to_4h"),
        ("ffn_down", "mlp.dense_4h_to_h"),
    ],
    change: Change::Heads,
};

pub(super) const BERT: Names = Names {
    whole: &[
        ("token_embd", "embeddings.word_embeddings"),
        ("position_embd", "embeddings.position_embeddings"),
        ("token_types", "embeddings.token_type_embeddings"),
        ("token_embd_norm", "embeddings.LayerNorm"),
    ],
    blocks: "encoder.layer",
    block: &[
        ("attn_q", "attention.self.query"),
        ("attn_k", "attention.self.key"),
        ("attn_v", "attention.self.value"),
        ("attn_output", "attention.output.dense"),
        ("attn_output_norm", "attention.output.LayerNorm"),
        ("ffn_up", "intermediate.dense"),
        ("ffn_down", "output.dense"),
        ("layer_output_norm", "output.LayerNorm"),
    ],
    change: Change::Nothing,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_changes_of_tensors() {
        let heads = Heads {
            heads: 2,
            head_dim: 4,
        };
        let of = |names: &Names, name: &str| names.of(name, heads);
        let pairs = Layout::Rows(Order::Pairs { head_dim: 4 });
        for (names, name, to, layout) in [
            (
                &LLAMA,
                "token_embd.weight",
                "model.embed_tokens.weight",
                Layout::Same,
            ),
            (
                &LLAMA,
                "output_norm.weight",
                "model.norm.weight",
                Layout::Same,
            ),
            (
                &LLAMA,
                "blk.11.attn_q.bias",
                "model.layers.11.self_attn.q_proj.bias",
                pairs,
            ),
            (
                &LLAMA,
                "blk.0.attn_v.weight",
                "model.layers.0.self_attn.v_proj.weight",
                Layout::Same,
            ),
            (
                &QWEN,
                "blk.0.attn_k.weight",
                "model.layers.0.self_attn.k_proj.weight",
                Layout::Same,
            ),
            (
                &GEMMA,
                "output_norm.weight",
                "model.norm.weight",
                Layout::LargerByOne,
            ),
            (
                &GEMMA,
                "blk.3.ffn_norm.weight",
                "model.layers.3.pre_feedforward_layernorm.weight",
                Layout::LargerByOne,
            ),
            (
                &GPT2,
                "blk.1.ffn_up.weight",
                "transformer.h.1.mlp.c_fc.weight",
                Layout::Transposed,
            ),
            (
                &GPT2,
                "blk.1.ffn_up.bias",
                "transformer.h.1.mlp.c_fc.bias",
                Layout::Same,
            ),
            (
                &GPT2,
                "blk.1.ffn_norm.weight",
                "transformer.h.1.ln_2.weight",
                Layout::Same,
            ),
        ] {
            assert_eq!(of(names, name), Some((to.to_owned(), layout)), "{name}");
        }
        for name in [
            "rope_freqs.weight",
            "blk.x.attn_q.weight",
            "blk..attn_q.weight",
            "blk.0.attn_q",
            "x.weight",
        ] {
            assert_eq!(of(&LLAMA, name), None, "{name}");
        }
    }
}
