"""Tiny GGUF files of every architecture, kind of tokenizer and format of values, with what transformers makes of them.

    pip install torch==2.15.0 transformers==5.24.0 safetensors==0.8.0 tokenizers==0.23.3 gguf==0.19.0
    python tests/generators/gguf_golden.py tests/fixtures/models/gguf

Writes there:

  blocks.golden.safetensors    per format `NAME.bytes`, random and extreme blocks, and `NAME.values`, what
                               `gguf.quants.dequantize` makes of them.
  NAME.gguf                    random blocks for weights, and a tokenizer trained on the lines below.
  NAME.golden.safetensors      transformers' states on the dequantised weights, as architectures.py writes them.
  tokenizers.golden.json       per file and text the ids without special tokens, and with them.

Special tokens that a text spells are text there, as in llama.cpp.

The weights go through transformers' own reader of GGUF where it knows the architecture (all but command-r, cohere2 and
bert, whose tensors only have other names). Tokenizers of bytes and of WordPiece are those that the file's settings
were written from, with the splits of the models' own tokenizer.json; the others are transformers' from the file.
"""
import json
import shutil
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import tokenizers
import torch
import transformers
from gguf import GGMLQuantizationType as Q
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from transformers.integrations.gguf import convert_gguf_tokenizer, get_gguf_tokenizer
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

import architectures
from architectures import Case

FORMATS = [Q.F32, Q.F16, Q.BF16, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0, Q.IQ4_NL, Q.Q4_K, Q.Q5_K, Q.Q6_K]
# Where a block has numbers in half precision, in bytes.
HALVES = {Q.Q4_0: [0], Q.Q4_1: [0, 2], Q.Q5_0: [0], Q.Q5_1: [0, 2], Q.Q8_0: [0], Q.IQ4_NL: [0], Q.Q4_K: [0, 2],
          Q.Q5_K: [0, 2], Q.Q6_K: [208]}

LINES = """
The baker was tired and went home early.  She had sold 1250 loaves of bread since 5 o'clock.
Le boulanger était fatigué et rentra chez lui. Il avait vendu des pains toute la journée.
Der Bäcker war müde und ging früh nach Hause. Die Straße war leer, und der Mond schien.
De bakker was moe en ging vroeg naar huis. De straat was leeg, en de maan scheen.
The nurse said that the engineer could not come; the engineer's train was late.
L'infirmière a dit que l'ingénieur ne pouvait pas venir, son train était en retard.
Die Krankenschwester sagte, dass der Ingenieur nicht kommen könne.
De verpleegster zei dat de ingenieur niet kon komen.
""".strip().split("\n")
TEXTS = LINES[:4] + [
    "", " ", "  two   spaces ", "tab\tand\nline\r\n\n\nmore", "naïve nai\u0308ve cafe\u0301 \u0130stanbul",
    "你好 🙂\u200d♀️ שלום", "3,141.59 % of €1000", "don't l'été 's-Gravenhage WE'LL", "<s> [MASK] </s> [SEP] <pad>x",
    "“quoted” … — « oui »", "\x00\x07\x1b[0m", "a" * 40, "the the  the",
]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]


def blocks(kind, count, generator, small):
    """Random blocks; with `small`, weights of a model, else anything that is finite."""
    values, size = gguf.GGML_QUANT_SIZES[kind]
    if kind in (Q.F32, Q.F16, Q.BF16):
        numbers = (generator.standard_normal(count * values) * 0.2).astype(np.float32)
        return np.ascontiguousarray(gguf.quants.quantize(numbers.reshape(count, values), kind)).view(np.uint8)
    data = generator.integers(0, 256, (count, size), dtype=np.uint8)
    for at in HALVES[kind]:
        scale = generator.standard_normal(count) * (0.003 if kind in (Q.Q4_K, Q.Q5_K, Q.Q6_K, Q.Q8_0, Q.IQ4_NL) else 0.05)
        if not small:
            scale = scale * 2.0 ** generator.integers(-12, 10, count)
        data[:, at:at + 2] = scale.astype(np.float16).reshape(-1, 1).view(np.uint8)
    if small and kind in (Q.Q4_K, Q.Q5_K, Q.Q6_K):
        # The scales of the parts multiply: smaller still.
        for at in HALVES[kind]:
            data[:, at:at + 2] = (data[:, at:at + 2].copy().view(np.float16) * np.float16(0.05)).view(np.uint8)
    return data


def golden_blocks(out):
    generator, arrays = np.random.default_rng(0), {}
    for kind in FORMATS:
        values, size = gguf.GGML_QUANT_SIZES[kind]
        if values == 1:
            data = generator.integers(0, 256, (64, size), dtype=np.uint8)
            data[:8] = 0
            data[1, -1] = 128          # -0
            data[2, 0] = 1             # the smallest of all
        else:
            few = 4 if values == 256 else 8
            data = blocks(kind, few, generator, False)
            edges = [np.full((1, size), byte, np.uint8) for byte in (0, 0xff, 0x0f, 0xf0, 0x80, 0x7f)]
            for edge, scale in zip(edges, (1.0, -1.0, 65504.0, 6e-8, -65504.0, -0.0)):
                for at in HALVES[kind]:
                    edge[0, at:at + 2] = np.array([scale], np.float16).view(np.uint8)
            data = np.concatenate([data, *edges])
        with np.errstate(all="ignore"):
            result = gguf.quants.dequantize(data, kind).reshape(-1)
        arrays[f"{kind.name}.bytes"] = data.reshape(-1)
        arrays[f"{kind.name}.values"] = np.ascontiguousarray(result, np.float32)
    save_arrays(arrays, out / "blocks.golden.safetensors")


def byte_level(pre, size):
    """A tokenizer of bytes as the models of this `pre` have it in tokenizer.json."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    level = lambda regex: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
    split = lambda pattern: pre_tokenizers.Sequence([pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"), level(False)])
    if pre in ("qwen2", "command-r"):
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = {
        "gpt-2": lambda: level(True),
        "command-r": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level(True)]),
        "smollm": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level(True)]),
        "qwen2": lambda: split(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
        "bloom": lambda: split(r" ?[^(\s|[.,!?…。，、।۔،])]+"),
    }[pre]()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL[:3], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(LINES, trainer)
    assert tokenizer.get_vocab_size() == size
    return tokenizer


def entries(tokenizer):
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary, key=vocabulary.get)


def write_tokenizer(writer, kind, size):
    """The settings of a tokenizer, as llama.cpp's converter writes them; and the tokenizer, if there is one already."""
    name, pre = kind
    writer.add_tokenizer_model(name)
    writer.add_tokenizer_pre(pre)
    ids = dict(pad=0, bos=1, eos=2)
    tokenizer = None
    if name == "gpt2":
        tokenizer = byte_level(pre, size)
        tokens, types = entries(tokenizer), [3] * 3 + [1] * (size - 3)
        writer.add_token_merges([" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]])
    elif name == "llama":
        spaces = ["  ", "   "] if pre == "gemma" else []
        tokens = SPECIAL + [f"<0x{byte:02X}>" for byte in range(256)] + spaces
        types = [3, 3, 3, 2] + [6] * 256 + [4] * len(spaces)
        bpe = tokenizers.Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.Metaspace()
        bpe.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=size - len(tokens), show_progress=False))
        pieces = entries(bpe)
        tokens += pieces + [f"[PAD{i}]" for i in range(size - len(tokens) - len(pieces))]
        types += [1] * len(pieces) + [5] * (size - len(types) - len(pieces))
        order = {token: i for i, token in enumerate(tokens)}
        scores = [-float(order[token]) for token in tokens]
        ids |= dict(unk=3)
        writer.add_token_scores(scores)
    elif name == "t5":
        unigram = tokenizers.Tokenizer(models.Unigram())
        unigram.pre_tokenizer = pre_tokenizers.Metaspace()
        unigram.train_from_iterator(LINES * 3, trainers.UnigramTrainer(
            vocab_size=size, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False))
        listed = json.loads(unigram.to_str())["model"]["vocab"]
        tokens, scores = [p for p, _ in listed], [s for _, s in listed]
        pad = size - len(tokens)
        tokens, scores = tokens + [f"[PAD{i}]" for i in range(pad)], scores + [-1000.0] * pad
        types = [3, 3, 3, 2] + [1] * (size - 4 - pad) + [5] * pad
        ids |= dict(unk=3)
        writer.add_token_scores(scores)
        writer.add_add_bos_token(True)
        writer.add_add_eos_token(True)
        writer.add_add_space_prefix(True)
        tokenizer = tokenizers.Tokenizer(models.Unigram([(t, float(np.float32(s))) for t, s in zip(tokens, scores)], unk_id=3))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.add_special_tokens(SPECIAL)
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    elif name == "bert":
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=pre == "uncased")
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.train_from_iterator(LINES, trainers.WordPieceTrainer(vocab_size=size, special_tokens=special,
                                                                       show_progress=False))
        assert tokenizer.get_vocab_size() == size
        tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        own, types = entries(tokenizer), [3] * 5 + [1] * (size - 5)
        tokens = [t if i < 5 else t[2:] if t.startswith("##") else "\u2581" + t for i, t in enumerate(own)]
        ids = dict(pad=0, unk=1, bos=2, sep=3, mask=4)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    for kind, token in ids.items():
        getattr(writer, f"add_{kind}_token_id")(token)
    return tokenizer


def file_case(name, architecture, model, kwargs, tokenizer, settings, formats, extra=()):
    return dict(name=name, architecture=architecture, case=Case(name, model, kwargs), tokenizer=tokenizer,
                settings=settings, formats=formats, extra=extra)


def decoder(hidden, layers, heads, kv, ffn, vocab, **rest):
    return architectures.decoder(hidden, layers, heads, kv, ffn, vocab, **rest)


LLAMA3 = architectures.rope(500000.0, "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                            original_max_position_embeddings=8192)
GEMMA3 = {"sliding_attention": architectures.rope(10000.0), "full_attention": architectures.rope(1e6, "linear", factor=8.0)}
V = {"gpt2": 320, "llama": 380, "t5": 300, "bert": 240}

CASES = [
    file_case("llama", "llama", "LlamaForCausalLM", decoder(64, 2, 4, 2, 256, V["llama"], rope_parameters=LLAMA3,
              tie_word_embeddings=True, rms_norm_eps=1e-5), ("llama", "default"), dict(rope=500000.0),
              [Q.Q5_0, Q.Q4_K], extra=("rope_freqs",)),
    file_case("llama-untied", "llama", "LlamaForCausalLM", decoder(32, 2, 2, 1, 64, V["gpt2"], rms_norm_eps=1e-5,
              rope_parameters=architectures.rope(500.0), tie_word_embeddings=False), ("gpt2", "smollm"),
              dict(rope=500.0), [Q.Q4_1]),
    file_case("qwen2", "qwen2", "Qwen2ForCausalLM", decoder(32, 2, 2, 1, 64, V["gpt2"], tie_word_embeddings=True,
              rope_parameters=architectures.rope(1e6)), ("gpt2", "qwen2"), dict(rope=1e6), [Q.Q5_1]),
    file_case("qwen3", "qwen3", "Qwen3ForCausalLM", decoder(32, 2, 2, 1, 64, V["gpt2"], head_dim=32,
              rope_parameters=architectures.rope(1e6), tie_word_embeddings=True), ("gpt2", "qwen2"),
              dict(rope=1e6, key_length=32), [Q.Q4_0]),
    file_case("gemma2", "gemma2", "Gemma2ForCausalLM", architectures.gemma(32, 2, 2, 1, 64, V["llama"], head_dim=32,
              query_pre_attn_scalar=32, sliding_window=4, attn_logit_softcapping=2.5, final_logit_softcapping=4.0),
              ("llama", "gemma"), dict(key_length=32, window=4, caps=(2.5, 4.0)), [Q.IQ4_NL, Q.F16]),
    file_case("gemma3", "gemma3", "Gemma3ForCausalLM", architectures.gemma(32, 7, 2, 1, 32, V["llama"], head_dim=16,
              query_pre_attn_scalar=16, sliding_window=4, rope_parameters=GEMMA3), ("llama", "gemma"),
              dict(key_length=16, window=4, rope=1e6, linear=8.0), [Q.Q8_0]),
    file_case("command-r", "command-r", "CohereForCausalLM", decoder(64, 2, 4, 2, 256, V["gpt2"], logit_scale=0.3,
              use_qk_norm=True, rope_parameters=architectures.rope(8e6)), ("gpt2", "command-r"),
              dict(rope=8e6, logit_scale=0.3), [Q.Q6_K, Q.Q4_1]),
    file_case("cohere2", "cohere2", "Cohere2ForCausalLM", decoder(32, 5, 2, 1, 64, V["gpt2"], sliding_window=4,
              logit_scale=0.4, rope_parameters=architectures.rope(500.0)), ("gpt2", "command-r"),
              dict(rope=500.0, window=4, logit_scale=0.4), [Q.Q8_0]),
    file_case("gpt2", "gpt2", "GPT2LMHeadModel", architectures.gpt2(32, 2, 2, V["gpt2"], n_inner=64, bos_token_id=1,
              eos_token_id=2), ("gpt2", "gpt-2"), {}, [Q.Q5_0]),
    file_case("bloom", "bloom", "BloomForCausalLM", architectures.bloom(64, 2, 4, V["gpt2"]), ("gpt2", "bloom"), {},
              [Q.Q5_K, Q.Q4_0]),
    file_case("bert", "bert", "BertModel", architectures.encoder(32, 2, 2, 64, V["bert"]), ("bert", "uncased"), {},
              [Q.F16]),
    file_case("bert-unigram", "bert", "BertModel", architectures.encoder(32, 2, 2, 64, V["t5"], type_vocab_size=1),
              ("t5", "default"), {}, [Q.Q4_0]),
]


def write_settings(writer, config, spec):
    get = lambda *names: next(getattr(config, n) for n in names if getattr(config, n, None) is not None)
    hidden, heads = get("hidden_size", "n_embd"), get("num_attention_heads", "n_head")
    writer.add_context_length(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 64)
    writer.add_embedding_length(hidden)
    writer.add_block_count(get("num_hidden_layers", "n_layer"))
    writer.add_feed_forward_length(getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * hidden)
    writer.add_head_count(heads)
    if getattr(config, "num_key_value_heads", None):
        writer.add_head_count_kv(config.num_key_value_heads)
    if getattr(config, "rms_norm_eps", None):
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    else:
        writer.add_layer_norm_eps(get("layer_norm_eps", "layer_norm_epsilon"))
    settings = spec["settings"]
    if "rope" in settings:
        writer.add_rope_freq_base(settings["rope"])
    if "key_length" in settings:
        writer.add_key_length(settings["key_length"])
        writer.add_value_length(settings["key_length"])
    if "window" in settings:
        writer.add_sliding_window(settings["window"])
    if "caps" in settings:
        writer.add_attn_logit_softcapping(settings["caps"][0])
        writer.add_final_logit_softcapping(settings["caps"][1])
    if "linear" in settings:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(settings["linear"])
    if "logit_scale" in settings:
        writer.add_logit_scale(settings["logit_scale"])
    if spec["architecture"] == "bert":
        writer.add_causal_attention(False)


def llama3_factors(config):
    """As llama.cpp's converter computes them."""
    rope, dim = config.rope_parameters, config.hidden_size // config.num_attention_heads
    freqs = 1.0 / (rope["rope_theta"] ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim))
    low, high, old = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
    factors = []
    for freq in freqs:
        wave = 2 * np.pi / freq
        if wave < old / high:
            factors.append(1)
        elif wave > old / low:
            factors.append(rope["factor"])
        else:
            smooth = (old / wave - low) / (high - low)
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, np.float32)


def write_file(spec, path, generator):
    case, architecture = spec["case"], spec["architecture"]
    cls = getattr(transformers, case.model)
    config = cls.config_class(**case.kwargs)
    model = cls(config)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_file_type(int(gguf.LlamaFileType.MOSTLY_Q4_K_M))
    write_settings(writer, config, spec)
    tokenizer = write_tokenizer(writer, spec["tokenizer"], config.vocab_size)
    layers = model.config.num_hidden_layers
    names = gguf.get_tensor_name_map({v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[architecture], layers)
    mapping, formats = {}, spec["formats"]
    for number, (name, tensor) in enumerate(model.state_dict().items()):
        if name.startswith("pooler") or name.endswith(("position_ids", ".attn.bias", "masked_bias")):
            continue
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stem, end = name.rsplit(".", 1)
        to = names.get_name(stem.removeprefix("transformer.") if case.model == "BloomForCausalLM" else stem)
        to = f"{to or names.get_name(stem)}.{end}"
        mapping[to] = name
        shape = list(tensor.shape)
        if architecture == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
            shape.reverse()
        if len(shape) == 1 or "norm" in to or "position" in to or "token_types" in to:
            values = generator.standard_normal(shape).astype(np.float32) * 0.2
            writer.add_tensor(to, values + (1 if "norm" in to and to.endswith("weight") else 0))
            continue
        fits = [f for f in formats if shape[-1] % gguf.GGML_QUANT_SIZES[f][0] == 0]
        kind = fits[number % len(fits)] if fits else Q.F16
        values, size = gguf.GGML_QUANT_SIZES[kind]
        if kind in (Q.F16, Q.BF16):
            numbers = (generator.standard_normal(shape) * 0.2).astype(np.float32)
            writer.add_tensor(to, gguf.quants.quantize(numbers, kind), raw_dtype=kind)
            continue
        data = blocks(kind, int(np.prod(shape)) // values, generator, True)
        writer.add_tensor(to, data.reshape(*shape[:-1], shape[-1] // values * size), raw_dtype=kind)
    if "rope_freqs" in spec["extra"]:
        writer.add_tensor("rope_freqs.weight", llama3_factors(config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model, mapping, tokenizer


def load(model, spec, path, mapping):
    """The dequantised weights in the model."""
    if spec["architecture"] in ("command-r", "cohere2", "bert"):
        tensors = {}
        for tensor in gguf.GGUFReader(path).tensors:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            tensors[mapping[tensor.name]] = torch.tensor(np.array(values, np.float32))
    else:
        tensors = load_gguf_checkpoint(path, return_tensors=True, model_to_load=model)["tensors"]
        tensors = {name: torch.as_tensor(t).float() for name, t in tensors.items()}
        # The reader puts factors under a name of their own.
        tensors = {name: t for name, t in tensors.items() if name in model.state_dict()}
    state = {name: tensor.reshape(model.state_dict()[name].shape) for name, tensor in tensors.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    left = [m for m in missing if not m.startswith("pooler") and m != "lm_head.weight" and not m.endswith("position_ids")]
    assert not left and not unexpected, (spec["name"], left, unexpected)
    model.tie_weights()


def special_as_text(tokenizer):
    """Special tokens in a text are text, as in llama.cpp, which makes no control piece of a unigram model of text either."""
    state = json.loads(tokenizer.to_str())
    if state["model"].get("type") == "Unigram":
        for added in state["added_tokens"]:
            state["model"]["vocab"][added["id"]][1] = -1000.0
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(state))
    tokenizer.encode_special_tokens = True
    return tokenizer


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    golden_blocks(out)
    texts = {}
    for number, spec in enumerate(CASES):
        name, case = spec["name"], spec["case"]
        path = out / f"{name}.gguf"
        model, mapping, tokenizer = write_file(spec, path, np.random.default_rng(100 + number))
        load(model, spec, path, mapping)
        with tempfile.TemporaryDirectory() as folder:
            model.eval().save_pretrained(folder)
            batch = architectures.sequences(case, model.config, torch.Generator().manual_seed(number))
            tensors, metadata = architectures.golden(case, Path(folder), batch)
        save_file(tensors, out / f"{name}.golden.safetensors", metadata=metadata)
        architectures.sort_metadata(out / f"{name}.golden.safetensors")
        if tokenizer is None:
            architecture, settings, _ = get_gguf_tokenizer(str(path))
            tokenizer, _ = convert_gguf_tokenizer(architecture, settings)
            tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
                single="<s> $A", special_tokens=[("<s>", 1)])
        tokenizer = special_as_text(tokenizer)
        ids = lambda text, special: tokenizer.encode(text, add_special_tokens=special).ids
        texts[name] = [{"text": text, "ids": ids(text, False), "special": ids(text, True)} for text in TEXTS]
        print(f"{name:14} {path.stat().st_size / 1000:6.1f} kB", flush=True)
    text = json.dumps(texts, ensure_ascii=True)
    (out / "tokenizers.golden.json").write_text(text.replace("}, {", "},\n {") + "\n")


if __name__ == "__main__":
    main()
