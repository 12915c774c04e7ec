"""Tiny random checkpoints of every supported architecture, with transformers' states at every hook point.

    pip install torch==2.15.0 transformers==5.24.0 safetensors==0.8.0 tokenizers==0.23.3
    python tests/generators/architectures.py --fixtures tests/fixtures/models/architectures     the committed cases
    python tests/generators/architectures.py --out DIR --seed 7 [--only NAME]     all cases, other weights and ids
    python tests/generators/architectures.py --list                               what there is

Each case is a folder NAME/ (config.json, safetensors, tokenizer.json) and NAME.golden.safetensors:

    {i}.ids      int64 [tokens]           sequence i; no padding, special tokens included
    {i}.{hook}   float32 [tokens, width]  embedding, final_norm, and of every block .input, .queries, .keys,
                                          .values, .heads, .projected, .attention, .gate (if it has one), .up,
                                          .units, .down, .mlp, .output
    {i}.logits   float32 [tokens, vocab]  if the class has a head

The metadata of that file says how it was computed: `modules` maps hook points to modules of transformers
(`{L}` is the block; `[0]` is the first third of the module's output, `[head 0]` the first third of each head),
`hidden_states` to the index in transformers' `output_hidden_states` where there is one.

`attention` and `mlp` are what is added to the residual stream. The golden values come from the folder as
written, read back by `from_pretrained` with eager attention, so a folder that transformers cannot read fails here.
A padded case is computed as one padded batch, and only the rows of real tokens are kept.
"""
import argparse
import json
import re
import shutil
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


@dataclass
class Case:
    name: str
    model: str                    # class in transformers
    kwargs: dict                  # of its config class
    dtype: str = "f32"            # of the stored weights
    compute: str | None = None    # of the golden values; None: as stored
    sharded: bool = False
    padding: str | None = None    # "left" or "right"
    lengths: tuple = (1, 6, 3)    # tokens of each sequence
    legacy: bool = False          # config.json with the keys of checkpoints older than transformers 5
    hub: bool = False             # tensor names as in the original checkpoints of that architecture
    edit: dict | None = None      # keys of config.json set after it is written


# Where the hook points are. `block` names a block; what follows is relative to it. `heads` and `units` are the modules that
# read them, and that write `projected` and `down`. `norms` are the two norms of a post-norm block, absent in a pre-norm one.
@dataclass
class Layout:
    embedding: str
    block: str
    attention: str = "self_attn"
    mlp: str = "mlp"
    final_norm: str | None = None  # None: the last block's output
    queries: str = "self_attn.q_proj:output"
    keys: str = "self_attn.k_proj:output"
    values: str = "self_attn.v_proj:output"
    heads: str = "self_attn.o_proj"
    gate: str | None = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    units: str = "mlp.down_proj"
    norms: tuple = ()
    positions: bool = True         # whether forward takes position_ids (and they start at 0)


DECODER = Layout("model.embed_tokens", "model.layers.{L}", final_norm="model.norm")
GEMMA = Layout("model.embed_tokens", "model.layers.{L}", "post_attention_layernorm", "post_feedforward_layernorm",
               "model.norm")


def bert(prefix, positions=True):
    return Layout(f"{prefix}embeddings", f"{prefix}encoder.layer.{{L}}", "attention.output.dense", "output.dense",
                  queries="attention.self.query:output", keys="attention.self.key:output",
                  values="attention.self.value:output", heads="attention.output.dense", gate=None,
                  up="intermediate.dense", units="output.dense", norms=("attention.output.LayerNorm", "output.LayerNorm"), positions=positions)


def distil(prefix):
    return Layout(f"{prefix}embeddings", f"{prefix}transformer.layer.{{L}}", "attention", "ffn",
                  queries="attention.q_lin:output", keys="attention.k_lin:output", values="attention.v_lin:output",
                  heads="attention.out_lin", gate=None, up="ffn.lin1", units="ffn.lin2",
                  norms=("sa_layer_norm", "output_layer_norm"))


LAYOUTS = {
    "CohereForCausalLM": DECODER,
    "Cohere2ForCausalLM": DECODER,
    "LlamaForCausalLM": DECODER,
    "MistralForCausalLM": DECODER,
    "Qwen2ForCausalLM": DECODER,
    "Qwen3ForCausalLM": DECODER,
    "Gemma2ForCausalLM": GEMMA,
    "Gemma3ForCausalLM": GEMMA,
    "Gemma3ForConditionalGeneration": replace(GEMMA, embedding="model.language_model.embed_tokens",
                                              block="model.language_model.layers.{L}",
                                              final_norm="model.language_model.norm"),
    "GPT2LMHeadModel": Layout("transformer.drop", "transformer.h.{L}", "attn", "mlp", "transformer.ln_f",
                              "attn.c_attn:output[0]", "attn.c_attn:output[1]", "attn.c_attn:output[2]", "attn.c_proj",
                              None, "mlp.c_fc", "mlp.c_proj"),
    "BloomForCausalLM": Layout("transformer.word_embeddings_layernorm", "transformer.h.{L}", "self_attention.dense",
                               "mlp.dense_4h_to_h", "transformer.ln_f",
                               *(f"self_attention.query_key_value:output[head {i}]" for i in range(3)),
                               "self_attention.dense", None, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h",
                               positions=False),
    "BertForMaskedLM": bert("bert."),
    "BertModel": bert(""),
    "RobertaForMaskedLM": bert("roberta.", positions=False),
    "XLMRobertaForMaskedLM": bert("roberta.", positions=False),
    "XLMRobertaModel": bert("", positions=False),
    "DistilBertForMaskedLM": distil("distilbert."),
    "DistilBertModel": distil(""),
}
ENCODERS = [name for name, layout in LAYOUTS.items() if layout.norms]


def decoder(hidden, layers, heads, kv, ffn, vocab=37, **rest):
    """The config keys that the Llama-like classes share. Ids: pad 0, bos 1, eos 2."""
    return dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
                num_key_value_heads=kv, intermediate_size=ffn, max_position_embeddings=64, pad_token_id=0,
                bos_token_id=1, eos_token_id=2) | rest


def gemma(*shape, **rest):
    return decoder(*shape, **rest) | dict(bos_token_id=2, eos_token_id=1)


def gpt2(hidden, layers, heads, vocab=37, **rest):
    return dict(vocab_size=vocab, n_embd=hidden, n_layer=layers, n_head=heads, n_positions=24,
                bos_token_id=vocab - 1, eos_token_id=vocab - 1) | rest


def bloom(hidden, layers, heads, vocab=37, **rest):
    return dict(vocab_size=vocab, hidden_size=hidden, n_layer=layers, n_head=heads, bos_token_id=1, eos_token_id=2,
                pad_token_id=3) | rest


def encoder(hidden, layers, heads, ffn, vocab=37, **rest):
    return dict(vocab_size=vocab, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
                intermediate_size=ffn, max_position_embeddings=20, pad_token_id=0) | rest


def roberta(*shape, **rest):
    return encoder(*shape, **rest) | dict(type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2)


def distilbert(hidden, layers, heads, ffn, vocab=37, **rest):
    return dict(vocab_size=vocab, dim=hidden, n_layers=layers, n_heads=heads, hidden_dim=ffn,
                max_position_embeddings=20, pad_token_id=0) | rest


def rope(theta, kind="default", **rest):
    return {"rope_type": kind, "rope_theta": theta} | rest


LLAMA3 = rope(1000.0, "llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)  # with head_dim 8: one frequency kept, one blended, two divided
LINEAR = rope(500.0, "linear", factor=3.0)
LOCAL_GLOBAL = {"sliding_attention": rope(100.0), "full_attention": rope(5000.0, "linear", factor=4.0)}
VISION = dict(hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1, image_size=4,
              patch_size=2)
SOFT_CAPS = dict(attn_logit_softcapping=2.5, final_logit_softcapping=4.0)
LONG = (1, 17, 6, 11)

# The committed cases: small, one per architecture, each with the features that are easiest to get wrong.
COMMITTED = [
    Case("cohere", "CohereForCausalLM", decoder(12, 2, 3, 1, 14, logit_scale=0.3, layer_norm_eps=2e-3,
         rope_parameters=rope(500.0)), legacy=True),
    Case("cohere-qk-norm", "CohereForCausalLM", decoder(16, 2, 4, 2, 11, use_qk_norm=True, attention_bias=True,
         logit_scale=0.7, rope_parameters=rope(50.0))),
    Case("cohere2", "Cohere2ForCausalLM", decoder(12, 2, 3, 1, 14, sliding_window=4, sliding_window_pattern=2,
         logit_scale=0.4, rope_parameters=rope(500.0)), legacy=True),
    Case("llama-llama3", "LlamaForCausalLM", decoder(12, 2, 3, 1, 14, head_dim=8, rope_parameters=LLAMA3,
         max_position_embeddings=256, tie_word_embeddings=True)),
    Case("llama-linear-bias", "LlamaForCausalLM", decoder(12, 2, 3, 3, 11, rope_parameters=LINEAR, attention_bias=True,
         mlp_bias=True, tie_word_embeddings=False, hidden_act="gelu", rms_norm_eps=3e-3), legacy=True),
    Case("llama-bf16-sharded", "LlamaForCausalLM", decoder(12, 3, 2, 1, 20, tie_word_embeddings=False), "bf16",
         sharded=True),
    Case("mistral", "MistralForCausalLM", decoder(12, 2, 3, 1, 14, sliding_window=4, tie_word_embeddings=False)),
    Case("qwen2", "Qwen2ForCausalLM", decoder(12, 2, 3, 1, 14, bos_token_id=None, use_sliding_window=True,
         sliding_window=4, max_window_layers=1, tie_word_embeddings=True), legacy=True),
    Case("qwen3", "Qwen3ForCausalLM", decoder(10, 2, 3, 1, 14, bos_token_id=None, head_dim=6, rms_norm_eps=3e-3,
         tie_word_embeddings=True)),
    Case("gemma2", "Gemma2ForCausalLM", gemma(12, 2, 3, 1, 14, head_dim=6, query_pre_attn_scalar=10,
         sliding_window=4, rms_norm_eps=3e-3, **SOFT_CAPS), legacy=True),
    Case("gemma3", "Gemma3ForCausalLM", gemma(12, 2, 3, 1, 14, head_dim=6, query_pre_attn_scalar=10, sliding_window=4,
         sliding_window_pattern=2, rope_parameters=LOCAL_GLOBAL), legacy=True),
    Case("gemma3-vision", "Gemma3ForConditionalGeneration", dict(text_config=gemma(12, 2, 3, 1, 14, head_dim=6,
         query_pre_attn_scalar=10, sliding_window=4, sliding_window_pattern=2, rope_parameters=LOCAL_GLOBAL),
         vision_config=VISION, mm_tokens_per_image=1, image_token_index=36, boi_token_index=34, eoi_token_index=35)),
    Case("gpt2", "GPT2LMHeadModel", gpt2(12, 2, 3, n_positions=17, n_inner=20, layer_norm_epsilon=2e-3), hub=True),
    Case("bloom", "BloomForCausalLM", bloom(12, 2, 3, layer_norm_epsilon=2e-3), hub=True),
    Case("bert-mlm", "BertForMaskedLM", encoder(12, 2, 3, 20, layer_norm_eps=2e-3), hub=True),
    Case("bert-model", "BertModel", encoder(12, 2, 2, 18, vocab=53, hidden_act="gelu_new"), padding="right"),
    Case("xlm-roberta-mlm", "XLMRobertaForMaskedLM", roberta(12, 2, 3, 20, layer_norm_eps=2e-3), padding="left"),
    Case("xlm-roberta-model", "XLMRobertaModel", roberta(12, 1, 2, 17, hidden_act="relu")),
    Case("roberta-mlm", "RobertaForMaskedLM", roberta(12, 1, 3, 17, hidden_act="gelu_new"), padding="right"),
    Case("distilbert-mlm", "DistilBertForMaskedLM", distilbert(12, 2, 3, 20)),
    Case("distilbert-model", "DistilBertModel", distilbert(12, 1, 2, 17, activation="relu")),
]

# The same shapes with longer sequences in other storage and padding, and shapes and settings of their own.
OTHERS = [
    *(replace(c, name=f"{c.name}-{kind}", lengths=LONG, **{"hub": False, "padding": None, "sharded": False} | how)
      for c in COMMITTED if c.dtype == "f32"
      for kind, how in {
          "left": {"padding": "left"},
          "right": {"padding": "right"},
          "sharded": {"sharded": True},
          "bf16": {"dtype": "bf16"},
          "bf16-in-f32": {"dtype": "bf16", "compute": "f32", "legacy": False},
      }.items()),
    Case("cohere-5-heads", "CohereForCausalLM", decoder(40, 3, 5, 5, 33, vocab=131, tie_word_embeddings=True),
         lengths=LONG),
    Case("cohere-qk-norm-1-kv", "CohereForCausalLM", decoder(28, 3, 7, 1, 45, vocab=67, use_qk_norm=True),
         lengths=LONG),
    Case("cohere2-7-layers", "Cohere2ForCausalLM", decoder(30, 7, 5, 1, 22, vocab=67, sliding_window=5), lengths=LONG),
    Case("cohere2-all-full", "Cohere2ForCausalLM", decoder(24, 2, 2, 2, 30, sliding_window=5,
         layer_types=["full_attention"] * 2), lengths=LONG),
    Case("cohere2-all-sliding", "Cohere2ForCausalLM", decoder(24, 3, 6, 3, 30, sliding_window=5, attention_bias=True),
         lengths=LONG),
    Case("llama", "LlamaForCausalLM", decoder(24, 3, 4, 2, 40, tie_word_embeddings=False), lengths=LONG),
    Case("llama-legacy", "LlamaForCausalLM", decoder(24, 2, 4, 2, 40), lengths=LONG, legacy=True),
    Case("llama-llama3-legacy", "LlamaForCausalLM", decoder(24, 2, 3, 3, 40, rope_parameters=LLAMA3), lengths=LONG,
         legacy=True),
    Case("llama-linear-type", "LlamaForCausalLM", decoder(24, 2, 3, 3, 40, rope_parameters=LINEAR), lengths=LONG,
         legacy=True, edit={"rope_scaling": {"type": "linear", "factor": 3.0}}),
    Case("llama-5-heads-wide", "LlamaForCausalLM", decoder(20, 3, 5, 1, 31, vocab=67, head_dim=10), lengths=LONG),
    Case("llama-7-heads", "LlamaForCausalLM", decoder(42, 2, 7, 7, 50, vocab=129, hidden_act="gelu_pytorch_tanh"),
         lengths=LONG),
    Case("llama-attention-bias", "LlamaForCausalLM", decoder(24, 2, 6, 2, 30, attention_bias=True), lengths=LONG),
    Case("llama-mlp-bias", "LlamaForCausalLM", decoder(24, 2, 6, 2, 30, mlp_bias=True, rms_norm_eps=1e-2),
         lengths=LONG),
    Case("llama-1-layer-1-head", "LlamaForCausalLM", decoder(6, 1, 1, 1, 7, vocab=11), lengths=(1, 2, 40)),
    Case("mistral-no-window", "MistralForCausalLM", decoder(20, 2, 5, 1, 30, vocab=67, sliding_window=None),
         lengths=LONG),
    Case("mistral-window-1", "MistralForCausalLM", decoder(18, 2, 3, 3, 30, sliding_window=1), lengths=LONG),
    Case("mistral-head-dim", "MistralForCausalLM", decoder(20, 3, 3, 1, 30, head_dim=12, sliding_window=7),
         lengths=LONG, legacy=True),
    Case("qwen2-unused-window", "Qwen2ForCausalLM", decoder(20, 3, 5, 5, 30, vocab=67, tie_word_embeddings=False),
         lengths=LONG, legacy=True, edit={"sliding_window": 3, "use_sliding_window": False, "max_window_layers": 1}),
    Case("qwen2-no-window", "Qwen2ForCausalLM", decoder(28, 2, 7, 1, 30), lengths=LONG),
    Case("qwen3-untied", "Qwen3ForCausalLM", decoder(24, 3, 5, 5, 30, vocab=67, head_dim=8, tie_word_embeddings=False),
         lengths=LONG),
    Case("qwen3-window-bias", "Qwen3ForCausalLM", decoder(24, 3, 4, 2, 30, head_dim=10, attention_bias=True,
         use_sliding_window=True, sliding_window=4, max_window_layers=2), lengths=LONG),
    Case("gemma2-no-caps", "Gemma2ForCausalLM", gemma(30, 3, 5, 5, 30, vocab=67, head_dim=4, query_pre_attn_scalar=6,
         sliding_window=5, attn_logit_softcapping=None, final_logit_softcapping=None), lengths=LONG),
    Case("gemma2-attention-cap", "Gemma2ForCausalLM", gemma(28, 4, 7, 1, 30, head_dim=8, query_pre_attn_scalar=16,
         sliding_window=3, attn_logit_softcapping=1.5, final_logit_softcapping=None), lengths=LONG),
    Case("gemma3-7-layers", "Gemma3ForCausalLM", gemma(20, 7, 5, 1, 22, vocab=67, head_dim=6, query_pre_attn_scalar=6,
         sliding_window=5), lengths=LONG),
    Case("gemma3-caps", "Gemma3ForCausalLM", gemma(24, 2, 2, 2, 30, head_dim=10, query_pre_attn_scalar=7,
         sliding_window=6, layer_types=["full_attention", "sliding_attention"], **SOFT_CAPS), lengths=LONG),
    Case("gpt2-prefixed", "GPT2LMHeadModel", gpt2(20, 3, 5, vocab=67), lengths=(1, 24, 6, 11)),
    Case("gpt2-7-heads", "GPT2LMHeadModel", gpt2(28, 2, 7, activation_function="gelu", tie_word_embeddings=False),
         lengths=LONG, hub=True),
    Case("gpt2-inverse-layer", "GPT2LMHeadModel", gpt2(24, 3, 4, scale_attn_by_inverse_layer_idx=True), lengths=LONG),
    Case("gpt2-unscaled", "GPT2LMHeadModel", gpt2(24, 2, 4, scale_attn_weights=False, layer_norm_epsilon=1e-2),
         lengths=LONG),
    *(Case(f"bloom-{heads}-heads", "BloomForCausalLM", bloom(4 * heads, 2, heads, vocab=67), lengths=LONG)
      for heads in (1, 2, 5, 7, 8, 11)),
    Case("bert-mlm-relu", "BertForMaskedLM", encoder(20, 3, 5, 27, vocab=67, hidden_act="relu"), lengths=(1, 20, 6)),
    Case("bert-mlm-untied", "BertForMaskedLM", encoder(28, 1, 7, 27, tie_word_embeddings=False), lengths=LONG),
    Case("roberta-mlm-untied", "RobertaForMaskedLM", roberta(28, 1, 7, 27, tie_word_embeddings=False),
         lengths=(1, 18, 6)),
    Case("distilbert-mlm-untied", "DistilBertForMaskedLM", distilbert(28, 1, 7, 27, tie_word_embeddings=False),
         lengths=LONG),
    Case("bert-model-5-heads", "BertModel", encoder(30, 4, 5, 50, vocab=131, layer_norm_eps=1e-3),
         lengths=LONG, hub=True),
    Case("roberta-mlm-5-heads", "RobertaForMaskedLM", roberta(20, 2, 5, 27, vocab=67), lengths=(1, 18, 6, 11)),
    Case("xlm-roberta-mlm-7-heads", "XLMRobertaForMaskedLM", roberta(28, 3, 7, 27, vocab=131), lengths=(1, 18, 6, 11)),
    Case("distilbert-mlm-sinusoidal", "DistilBertForMaskedLM", distilbert(20, 3, 5, 27, vocab=67, activation="relu",
         sinusoidal_pos_embds=True), lengths=(1, 20, 6)),
]
CASES = COMMITTED + OTHERS


def special_tokens(case, config):
    """Name → id of the special tokens, and the template around a text (as lists of names)."""
    if case.model in ENCODERS and config.model_type in ("bert", "distilbert"):
        return {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}, ["[CLS]"], ["[SEP]"]
    if case.model in ENCODERS:
        return {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": config.vocab_size - 1}, ["<s>"], ["</s>"]
    tokens = {}
    for name, token in [("<pad>", config.pad_token_id), ("<s>", config.bos_token_id), ("</s>", config.eos_token_id)]:
        if token is not None and token not in tokens.values():
            tokens[name] = token
    tokens["<unk>"] = next(i for i in range(config.vocab_size) if i not in tokens.values())
    # GPT-2, BLOOM and Qwen add nothing to a text
    begins = config.model_type not in ("gpt2", "bloom", "qwen2", "qwen3")
    return tokens, ["<s>"] if begins else [], []


def write_tokenizer(case, config, path):
    """One word per token id: special tokens by their names, the others `t5`, `t6`, ..."""
    specials, before, after = special_tokens(case, config)
    names = {token: name for name, token in specials.items()}
    vocab = {names.get(i, f"t{i}"): i for i in range(config.vocab_size)}
    unknown = next(name for name in specials if "unk" in name.lower())
    tok = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token=unknown))
    tok.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tok.add_special_tokens(list(specials))
    if before or after:
        tok.post_processor = tokenizers.processors.TemplateProcessing(
            single=before + ["$A"] + after, special_tokens=[(name, specials[name]) for name in before + after])
    tok.save(str(path), pretty=False)


def sequences(case, config, generator):
    """Random ids of the case's lengths: a text as the tokenizer would frame it, with a special token inside."""
    specials, before, after = special_tokens(case, config)
    plain = [i for i in range(config.vocab_size) if i not in specials.values()]
    mask = next((token for name, token in specials.items() if "mask" in name.lower()), None)
    out = []
    for length in case.lengths:
        ids = [plain[int(torch.randint(len(plain), (1,), generator=generator))] for _ in range(length)]
        if length > 1:
            ids[:len(before)] = [specials[name] for name in before]
            ids[length - len(after):] = [specials[name] for name in after]
            inside = mask if mask is not None else specials.get("</s>", specials.get("<s>"))
            ids[length // 2] = inside
        out.append(ids)
    return out


@torch.no_grad()
def randomize(model, generator):
    """Weights with enough spread that a missing path, gain or bias changes the states."""
    for module in model.modules():
        for name, p in module.named_parameters(recurse=False):
            noise = torch.randn(p.shape, generator=generator)
            kind = type(module).__name__
            if "Norm" in kind and name == "weight":
                # Gemma stores the gain minus one
                p.copy_(0.25 * noise + (0.0 if kind.startswith("Gemma") else 1.0))
            elif p.ndim == 1:
                p.copy_(0.25 * noise)
            elif "Embedding" in kind:
                p.copy_(0.6 * noise)
            else:
                fan_in = p.shape[0] if kind == "Conv1D" else p.shape[1]
                p.copy_(1.3 * fan_in**-0.5 * noise)


def legacy_config(path):
    """Rewrites config.json with the older keys: rope_theta, rope_scaling, sliding_window_pattern, torch_dtype."""
    config = json.loads(path.read_text())
    config["torch_dtype"] = config.pop("dtype")
    rope_parameters = config.pop("rope_parameters", None)
    if rope_parameters and "full_attention" in rope_parameters:
        config["rope_local_base_freq"] = rope_parameters["sliding_attention"]["rope_theta"]
        rope_parameters = rope_parameters["full_attention"]
    if rope_parameters:
        config["rope_theta"] = rope_parameters.pop("rope_theta")
        config["rope_scaling"] = None if rope_parameters["rope_type"] == "default" else rope_parameters
    layer_types = config.pop("layer_types", None)
    config.pop("_sliding_window_pattern", None)
    if layer_types and config["model_type"] in ("cohere2", "gemma3_text"):
        config["sliding_window_pattern"] = layer_types.index("full_attention") + 1
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def hub_names(folder, config):
    """Renames tensors as in the original checkpoints: no `transformer.` prefix and a causal mask stored along
    (GPT-2, BLOOM); `gamma` and `beta` for layer norms, position ids and unused heads stored along (BERT)."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    if config.model_type == "gpt2":
        tensors = {name.removeprefix("transformer."): t for name, t in tensors.items()}
        n = config.n_positions
        for layer in range(config.n_layer):
            tensors[f"h.{layer}.attn.bias"] = torch.ones(n, n).tril().view(1, 1, n, n)
    elif config.model_type == "bloom":
        tensors = {name.removeprefix("transformer."): t for name, t in tensors.items()}
    else:
        tensors = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
                   for name, t in tensors.items()}
        prefix = "bert." if any(name.startswith("bert.") for name in tensors) else ""
        tensors[f"{prefix}embeddings.position_ids"] = torch.arange(config.max_position_embeddings).view(1, -1)
        if prefix:
            # the heads of pretraining, which a masked language model does not use
            hidden = config.hidden_size
            tensors |= {"bert.pooler.dense.weight": torch.ones(hidden, hidden),
                        "bert.pooler.dense.bias": torch.ones(hidden),
                        "cls.seq_relationship.weight": torch.ones(2, hidden),
                        "cls.seq_relationship.bias": torch.ones(2)}
    save_file(tensors, path, metadata={"format": "pt"})


def write_checkpoint(case, folder, generator):
    cls = getattr(transformers, case.model)
    model = cls(cls.config_class(**case.kwargs)).eval()
    randomize(model, generator)
    model = model.to(DTYPES[case.dtype])
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, max_shard_size="4KB" if case.sharded else "1GB")
    shards = list(folder.glob("*.safetensors"))
    assert (len(shards) > 1) == case.sharded, f"{case.name}: {len(shards)} shards"
    (folder / "generation_config.json").unlink(missing_ok=True)
    if case.legacy:
        legacy_config(folder / "config.json")
    if case.edit:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | case.edit, indent=2, sort_keys=True) + "\n")
    if case.hub:
        hub_names(folder, model.config)
    write_tokenizer(case, model.config.get_text_config(), folder / "tokenizer.json")


def module_map(layout, layers):
    """Hook point → `module:input` or `module:output`, and which part of it; `{L}` is the block."""
    final = f"{layout.final_norm}:output" if layout.final_norm else layout.block.format(L=layers - 1) + ":output"
    inside = {"queries": layout.queries, "keys": layout.keys, "values": layout.values,
              "heads": f"{layout.heads}:input", "projected": f"{layout.heads}:output",
              "attention": f"{layout.attention}:output",
              **({"gate": f"{layout.gate}:output"} if layout.gate else {}),
              "up": f"{layout.up}:output", "units": f"{layout.units}:input", "down": f"{layout.units}:output",
              "mlp": f"{layout.mlp}:output"}
    return {"embedding": f"{layout.embedding}:output", "block.{L}.input": f"{layout.block}:input",
            **{f"block.{{L}}.{part}": f"{layout.block}.{place}" for part, place in inside.items()},
            "block.{L}.output": f"{layout.block}:output", "final_norm": final}


def third(value, which, heads):
    """One of the three parts of queries, keys and values in one tensor: `0`, or `head 0` where they alternate by head."""
    groups = heads if which.startswith("head ") else 1
    parts = value.unflatten(-1, (groups, 3, value.shape[-1] // (3 * groups)))
    return parts[..., int(which.removeprefix("head ")), :].flatten(-2)


# With a final norm, the last block's output is not among transformers' hidden states: the last one is `final_norm`.
HIDDEN_STATES = {"embedding": "0", "block.{L}.input": "{L}", "block.{L}.output": "{L+1}",
                 "final_norm": "-1"}


def watch(model, modules, layers, states):
    """Hooks that copy the batch's states into `states`; returns their handles."""
    first = lambda value: value[0] if isinstance(value, tuple) else value
    handles = []
    for hook, place in modules.items():
        for layer in range(layers) if "{L}" in hook else [0]:
            path, side = place.replace("{L}", str(layer)).split(":")
            side, _, which = side.removesuffix("]").partition("[")
            heads = model.config.get_text_config().num_attention_heads
            name, module = hook.replace("{L}", str(layer)), model.get_submodule(path)

            # Some modules change their input in place, so it is copied before they run.
            def before(_, args, kwargs, name=name):
                states[name] = first(args or tuple(kwargs.values())).detach().clone()

            def after(_, args, output, name=name, which=which, heads=heads):
                state = first(output)
                states[name] = (third(state, which, heads) if which else state).detach().clone()

            handles.append(module.register_forward_pre_hook(before, with_kwargs=True) if side == "input"
                           else module.register_forward_hook(after))
    return handles


@torch.no_grad()
def forward(model, layout, batch, padding):
    """Runs sequences as one batch padded at `padding`.

    Returns for every sequence its states at all hook points and logits, float32, real tokens only.
    """
    config = model.config.get_text_config()
    layers, width = config.num_hidden_layers, max(map(len, batch))
    filler = config.pad_token_id if config.pad_token_id is not None else 0
    mask = torch.zeros(len(batch), width, dtype=torch.int64)
    for row, ids in zip(mask, batch):
        row[slice(width - len(ids), width) if padding == "left" else slice(len(ids))] = 1
    tokens = torch.full(mask.shape, filler)
    for i, ids in enumerate(batch):
        tokens[i, mask[i] == 1] = torch.tensor(ids)
    inputs = {"input_ids": tokens, "attention_mask": mask}
    if layout.positions:
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    states = {}
    handles = watch(model, module_map(layout, layers), layers, states)
    out = model(**inputs, output_hidden_states=True)
    for handle in handles:
        handle.remove()
    real = mask == 1
    check(model, layout, states, out.hidden_states, real)
    if hasattr(out, "logits"):
        states["logits"] = out.logits
    return [{name: state[i][real[i]].float().contiguous() for name, state in states.items()} for i in range(len(batch))]


def check(model, layout, states, hidden_states, real):
    """The hook points against transformers' own hidden states, and against the residual stream's arithmetic."""
    layers = model.config.get_text_config().num_hidden_layers
    equal = lambda a, b: torch.equal(a[real], b[real])
    tolerance = 1e-5 if model.dtype == torch.float32 else 3e-2
    near = lambda a, b: (a[real] - b[real]).abs().max() <= tolerance * b[real].abs().max()
    assert len(hidden_states) == layers + 1
    assert equal(states["embedding"], hidden_states[0]), "embedding"
    assert equal(states["final_norm"], hidden_states[-1]), "final_norm"
    for layer in range(layers):
        block = {part: states[f"block.{layer}.{part}"] for part in ("input", "attention", "mlp", "output")}
        assert equal(block["input"], hidden_states[layer]), f"block.{layer}.input"
        if layer + 1 < layers or layout.final_norm is None:
            assert equal(block["output"], hidden_states[layer + 1]), f"block.{layer}.output"
        if layout.norms:
            first, second = (model.get_submodule(f"{layout.block.format(L=layer)}.{norm}") for norm in layout.norms)
            expected = second(first(block["input"] + block["attention"]) + block["mlp"])
        else:
            expected = block["input"] + block["attention"] + block["mlp"]
        assert near(block["output"], expected), f"block.{layer}: input + attention + mlp is not its output"


def golden(case, folder, batch):
    """The golden file's tensors and metadata, from the folder as written."""
    compute = case.compute or case.dtype
    cls, layout = getattr(transformers, case.model), LAYOUTS[case.model]
    model, info = cls.from_pretrained(folder, dtype=DTYPES[compute], attn_implementation="eager",
                                      output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"], f"{case.name}: {info}"
    model.eval()
    runs = [forward(model, layout, [ids], "right")[0] for ids in batch]
    if case.padding:
        alone, runs = runs, forward(model, layout, batch, case.padding)
        for a, b in zip(alone, runs):
            for name in a:
                difference = (a[name] - b[name]).abs().max()
                assert difference <= 1e-4 * a[name].abs().max(), f"{case.name}: {name} sees the padding"
    tensors = {}
    for i, (ids, run) in enumerate(zip(batch, runs)):
        tensors[f"{i}.ids"] = torch.tensor(ids)
        tensors.update({f"{i}.{name}": state for name, state in run.items()})
    for name, tensor in tensors.items():
        assert tensor.isfinite().all(), f"{case.name}: {name} is not finite"
    metadata = {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0], "dtype": compute,
                "class": case.model, "padding": case.padding or "none",
                "modules": json.dumps(module_map(layout, model.config.get_text_config().num_hidden_layers)),
                "hidden_states": json.dumps(HIDDEN_STATES)}
    if compute != "f32":
        exact = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        metadata["rounding"] = json.dumps(rounding(runs, [forward(exact, layout, [ids], "right")[0] for ids in batch]))
    return tensors, metadata


def rounding(runs, exact):
    """How far transformers' own half-precision states lie from its f32 ones, per kind of hook point."""
    worst = {}
    for run, reference in zip(runs, exact):
        for name, state in run.items():
            kind = re.sub(r"^block\.\d+\.", "block.{L}.", name)
            difference = (state - reference[name]).abs().max() / state.abs().max()
            worst[kind] = max(worst.get(kind, 0.0), difference.item())
    return {kind: round(value, 6) for kind, value in worst.items()}


def sort_metadata(path):
    """safetensors writes metadata in an order of its own, another in every run; sorted, equal runs give equal files."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode().ljust(end - 8)
    path.write_bytes(data[:8] + text + data[end:])


def write(case, out, seed):
    generator = torch.Generator().manual_seed(seed * 1_000_003 + zlib.crc32(case.name.encode()))
    folder, path = out / case.name, out / f"{case.name}.golden.safetensors"
    write_checkpoint(case, folder, generator)
    config = getattr(transformers, case.model).config_class.from_pretrained(folder).get_text_config()
    batch = sequences(case, config, generator)
    tensors, metadata = golden(case, folder, batch)
    save_file(tensors, path, metadata=metadata)
    sort_metadata(path)
    size = sum(f.stat().st_size for f in folder.iterdir()) + path.stat().st_size
    print(f"{case.name:32} {case.model:24} {case.dtype:5} {size / 1000:6.1f} kB", flush=True)
    return size


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--fixtures", type=Path, help="write the committed cases there, with seed 0")
    where.add_argument("--out", type=Path, help="write all cases there")
    where.add_argument("--list", action="store_true", help="list the cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="the case of this name")
    args = parser.parse_args()
    if args.fixtures and args.seed:
        parser.error("the committed cases have seed 0; --seed goes with --out")
    cases = COMMITTED if args.fixtures else CASES
    if args.only:
        cases = [c for c in cases if c.name == args.only]
        if not cases:
            parser.error(f"no case {args.only}; there are: " + ", ".join(c.name for c in CASES))
    if args.list:
        for c in cases:
            print(f"{c.name:32} {c.model:24} {c.dtype:5}{' committed' if c in COMMITTED else ''}")
        return
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    out = args.fixtures or args.out
    out.mkdir(parents=True, exist_ok=True)
    total = sum(write(case, out, args.seed) for case in cases)
    print(f"{len(cases)} cases, {total / 1000:.0f} kB")


if __name__ == "__main__":
    main()
