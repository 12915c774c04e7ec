//! The parts of a model that have states: the table of hook points.

use crate::ModelShape;

/// The part of a block, or of the two ends of a model, at which a hook lies. The parts are in the order of the
/// forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The token embeddings.
    Embedding,
    /// The residual stream as it enters a block.
    Input,
    /// The output of the query projection.
    Queries,
    /// The output of the key projection.
    Keys,
    /// The output of the value projection.
    Values,
    /// The concatenated outputs of the attention heads, which are the input of attention's output projection.
    Heads,
    /// The output of attention's output projection, before a norm that may follow it.
    Projected,
    /// The vector that attention adds to the residual stream.
    Attention,
    /// The output of the gate projection of a gated MLP.
    Gate,
    /// The output of the MLP's first projection, before the activation function or the product with the gate.
    Up,
    /// The units of the MLP, which are the input of its down projection.
    Units,
    /// The output of the MLP's down projection, before a norm that may follow it.
    Down,
    /// The vector that the MLP adds to the residual stream.
    Mlp,
    /// The residual stream as it leaves a block.
    Output,
    /// The state that the LM head reads.
    FinalNorm,
}

/// What there is to say of a part: the one table.
struct Row {
    part: Part,
    /// Name, within a block where it is in one.
    name: &'static str,
    /// Whether every block has one.
    in_block: bool,
    /// Width of its states.
    width: fn(&ModelShape) -> usize,
    /// Its width in words.
    size: &'static str,
    /// What its states are.
    meaning: &'static str,
    /// The same place in the words of transformers.
    transformers: &'static str,
    /// The same place in TransformerLens: the name that its `get_act_name` takes, within a block.
    lens: Option<&'static str>,
}

fn hidden(m: &ModelShape) -> usize {
    m.hidden
}

fn queries(m: &ModelShape) -> usize {
    m.heads.saturating_mul(m.head_dim)
}

fn keys(m: &ModelShape) -> usize {
    m.kv_heads.saturating_mul(m.head_dim)
}

fn intermediate(m: &ModelShape) -> usize {
    m.intermediate
}

/// In the order of the forward pass.
const TABLE: &[Row] = &[
    Row {
        part: Part::Embedding,
        name: "embedding",
        in_block: false,
        width: hidden,
        size: "hidden",
        meaning: "what enters the first block",
        transformers: "hidden_states[0]",
        lens: Some("embed"),
    },
    Row {
        part: Part::Input,
        name: "input",
        in_block: true,
        width: hidden,
        size: "hidden",
        meaning: "residual stream entering block L",
        transformers: "hidden_states[L]",
        lens: Some("resid_pre"),
    },
    Row {
        part: Part::Queries,
        name: "queries",
        in_block: true,
        width: queries,
        size: "heads · head_dim",
        meaning: "queries of block L, before any norm and rotation",
        transformers: "output of the query projection (q_proj)",
        lens: Some("q"),
    },
    Row {
        part: Part::Keys,
        name: "keys",
        in_block: true,
        width: keys,
        size: "kv_heads · head_dim",
        meaning: "keys of block L, before any norm and rotation",
        transformers: "output of the key projection (k_proj)",
        lens: Some("k"),
    },
    Row {
        part: Part::Values,
        name: "values",
        in_block: true,
        width: keys,
        size: "kv_heads · head_dim",
        meaning: "values of block L",
        transformers: "output of the value projection (v_proj)",
        lens: Some("v"),
    },
    Row {
        part: Part::Heads,
        name: "heads",
        in_block: true,
        width: queries,
        size: "heads · head_dim",
        meaning: "what the heads of block L make, one after the other",
        transformers: "input of attention's output projection (o_proj)",
        lens: Some("z"),
    },
    Row {
        part: Part::Projected,
        name: "projected",
        in_block: true,
        width: hidden,
        size: "hidden",
        meaning: "what attention's output projection of block L writes, before a norm that may follow",
        transformers: "output of attention's output projection (o_proj)",
        lens: None,
    },
    Row {
        part: Part::Attention,
        name: "attention",
        in_block: true,
        width: hidden,
        size: "hidden",
        meaning: "what attention of block L adds to the residual stream",
        transformers: "output of attention, behind a norm that follows it",
        lens: Some("attn_out"),
    },
    Row {
        part: Part::Gate,
        name: "gate",
        in_block: true,
        width: intermediate,
        size: "intermediate",
        meaning: "gates of the MLP of block L, before the activation; only gated MLPs have them",
        transformers: "output of the gate projection (gate_proj)",
        lens: None,
    },
    Row {
        part: Part::Up,
        name: "up",
        in_block: true,
        width: intermediate,
        size: "intermediate",
        meaning: "what the MLP's first projection of block L writes, before the activation or the product with the gate",
        transformers: "output of the up projection (up_proj, c_fc)",
        lens: Some("pre_linear"),
    },
    Row {
        part: Part::Units,
        name: "units",
        in_block: true,
        width: intermediate,
        size: "intermediate",
        meaning: "units of the MLP of block L, after activation and product",
        transformers: "input of the MLP's down projection (down_proj)",
        lens: Some("post"),
    },
    Row {
        part: Part::Down,
        name: "down",
        in_block: true,
        width: hidden,
        size: "hidden",
        meaning: "what the MLP's down projection of block L writes, before a norm that may follow",
        transformers: "output of the down projection (down_proj, c_proj)",
        lens: None,
    },
    Row {
        part: Part::Mlp,
        name: "mlp",
        in_block: true,
        width: hidden,
        size: "hidden",
        meaning: "what the MLP of block L adds to the residual stream",
        transformers: "output of the MLP, behind a norm that follows it",
        lens: Some("mlp_out"),
    },
    Row {
        part: Part::Output,
        name: "output",
        in_block: true,
        width: hidden,
        size: "hidden",
        meaning: "residual stream leaving block L",
        transformers: "hidden_states[L + 1], but for the last block before a final norm",
        lens: Some("resid_post"),
    },
    Row {
        part: Part::FinalNorm,
        name: "final_norm",
        in_block: false,
        width: hidden,
        size: "hidden",
        meaning: "what the LM head reads; in encoders the last block's output",
        transformers: "hidden_states[-1]",
        lens: Some("ln_final.normalized"),
    },
];

impl Part {
    /// Iterates over all parts, in the order of the forward pass.
    pub fn all() -> impl Iterator<Item = Part> {
        TABLE.iter().map(|row| row.part)
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Returns the name of the part; for a part of a block, the name within the block.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns whether every block has this part.
    pub fn in_block(self) -> bool {
        self.row().in_block
    }

    /// Returns the name of the hook as people write it, with `L` for the number of the block.
    pub fn pattern(self) -> String {
        match self.in_block() {
            true => format!("block.L.{}", self.name()),
            false => self.name().to_owned(),
        }
    }

    /// Returns a description of the states.
    pub fn meaning(self) -> &'static str {
        self.row().meaning
    }

    /// The part that TransformerLens calls so, within a block where it is in one.
    pub(crate) fn of_lens(name: &str) -> Option<Part> {
        let row = TABLE.iter().find(|row| row.lens == Some(name))?;
        Some(row.part)
    }

    /// Returns the tensor in Hugging Face transformers that the states equal.
    pub fn transformers(self) -> &'static str {
        self.row().transformers
    }

    /// Returns the width of the states in words, such as `kv_heads · head_dim`.
    pub fn size(self) -> &'static str {
        self.row().size
    }

    /// Returns the width of the states in a model.
    pub(crate) fn width(self, model: &ModelShape) -> usize {
        (self.row().width)(model)
    }

    /// Returns whether the states lie inside a block, between the residual stream that it reads and the vector that
    /// it adds. The states of most such parts have another width than the residual stream.
    pub fn is_inside(self) -> bool {
        matches!(
            self,
            Part::Queries
                | Part::Keys
                | Part::Values
                | Part::Heads
                | Part::Projected
                | Part::Gate
                | Part::Up
                | Part::Units
                | Part::Down
        )
    }

    /// Returns whether the states are what a linear map of the block writes. These parts together are all linear
    /// outputs of a block.
    pub fn is_linear(self) -> bool {
        matches!(
            self,
            Part::Queries
                | Part::Keys
                | Part::Values
                | Part::Projected
                | Part::Gate
                | Part::Up
                | Part::Down
        )
    }
}
