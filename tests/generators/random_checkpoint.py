"""A checkpoint of random weights in the exact shape of Aya-expanse-8B, to measure speed and memory.

    pip install numpy==2.4.6
    python tests/generators/random_checkpoint.py DIR                            16.1 GB in 4 shards
    python tests/generators/random_checkpoint.py DIR --layers 12 --hidden 768 --heads 12 --kv-heads 12 --ffn 3072 \
        --vocab 32000                                                           the size of GPT-2 small
    python tests/generators/random_checkpoint.py DIR --tokenizer FILE           with that tokenizer.json

Writes config.json with the keys and values of the real one, tokenizer.json (one token per byte, unless one is given)
and bf16 weights, normal with standard deviation 0.02, norm gains around 1. All tensors repeat one 64 MB block of
random numbers, each from another place, so that writing is bound by the disk; memory stays below 1 GB.
"""
import argparse
import json
import shutil
import time
from pathlib import Path

import numpy as np

# Values of the block. Odd, so that the rows of a large matrix do not repeat.
BLOCK = (1 << 25) + 1009
DEVIATION = 0.02
SHARD_BYTES = 5_000_000_000


def bf16(values):
    """The upper halves of float32 values, rounded to nearest; changes `values`."""
    bits = values.view(np.uint32)
    bits += np.uint32(0x8000)
    return (bits >> 16).astype(np.uint16)


def tensors(config):
    """Names and shapes in the order of the original; the head is tied to the embedding."""
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    kv = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        block = f"model.layers.{layer}"
        yield f"{block}.input_layernorm.weight", (hidden,)
        yield f"{block}.mlp.down_proj.weight", (hidden, ffn)
        yield f"{block}.mlp.gate_proj.weight", (ffn, hidden)
        yield f"{block}.mlp.up_proj.weight", (ffn, hidden)
        yield f"{block}.self_attn.k_proj.weight", (kv, hidden)
        yield f"{block}.self_attn.o_proj.weight", (hidden, hidden)
        yield f"{block}.self_attn.q_proj.weight", (hidden, hidden)
        yield f"{block}.self_attn.v_proj.weight", (kv, hidden)
    yield "model.norm.weight", (hidden,)


def shards(config, limit):
    """Groups of (name, shape, bytes), none above `limit` unless one tensor alone is."""
    groups, size = [[]], 0
    for name, shape in tensors(config):
        length = 2 * int(np.prod(shape))
        if groups[-1] and size + length > limit:
            groups.append([])
            size = 0
        groups[-1].append((name, shape, length))
        size += length
    return groups


def write_values(file, count, rng, block):
    """`count` values, read from the block round and round, from a random place."""
    start = int(rng.integers(BLOCK))
    while count:
        part = block[start:start + count]
        file.write(part.data)
        count -= len(part)
        start = 0


def write_shard(path, group, rng, block):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, length in group:
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + length]}
        offset += length
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, shape, length in group:
            if len(shape) == 1:
                gains = np.float32(1) + np.float32(DEVIATION) * rng.standard_normal(shape, dtype=np.float32)
                file.write(bf16(gains).data)
            else:
                write_values(file, length // 2, rng, block)


def byte_tokens():
    """The characters that byte-level BPE writes for the 256 bytes: printable Latin-1 as it is, the others above 255."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


def byte_tokenizer(config):
    """tokenizer.json with one token per byte: special tokens at the config's ids, bytes after the beginning token."""
    bos, eos = config["bos_token_id"], config["eos_token_id"]
    special = {"<PAD>": config["pad_token_id"], "<UNK>": 1, "<BOS_TOKEN>": bos, "<|END_OF_TURN_TOKEN|>": eos}
    vocab = special | {char: bos + 1 + byte for byte, char in sorted(byte_tokens().items())}
    begin = {"SpecialToken": {"id": "<BOS_TOKEN>", "type_id": 0}}
    text = lambda which, kind: {"Sequence": {"id": which, "type_id": kind}}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for name, i in special.items()],
        "normalizer": {"type": "NFC"}, "pre_tokenizer": level,
        "post_processor": {"type": "TemplateProcessing", "single": [begin, text("A", 0)],
                           "pair": [begin, text("A", 0), text("B", 1)],
                           "special_tokens": {"<BOS_TOKEN>": {"id": "<BOS_TOKEN>", "ids": [bos],
                                                              "tokens": ["<BOS_TOKEN>"]}}},
        "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])), "merges": []},
    }


def largest_id(tokenizer):
    """Largest token id of a tokenizer.json."""
    vocab = tokenizer["model"]["vocab"]
    ids = vocab.values() if isinstance(vocab, dict) else [len(vocab) - 1]
    return max([*ids, *(token["id"] for token in tokenizer["added_tokens"])])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--kv-heads", type=int, default=8)
    parser.add_argument("--ffn", type=int, default=14336)
    parser.add_argument("--vocab", type=int, default=256000)
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json with ids below --vocab")
    parser.add_argument("--shard-bytes", type=int, default=SHARD_BYTES)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.hidden % args.heads or args.heads % args.kv_heads:
        parser.error("--heads must divide --hidden, and --kv-heads must divide --heads")
    if args.vocab < 263:
        parser.error("--vocab must be at least 263: 256 bytes and the special tokens")
    config = {
        "architectures": ["CohereForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 5,
        "eos_token_id": min(255001, args.vocab - 1), "hidden_act": "silu", "hidden_size": args.hidden,
        "initializer_range": 0.02, "intermediate_size": args.ffn, "layer_norm_eps": 1e-5, "logit_scale": 0.125,
        "max_position_embeddings": 8192, "model_type": "cohere", "num_attention_heads": args.heads,
        "num_hidden_layers": args.layers, "num_key_value_heads": args.kv_heads, "pad_token_id": 0,
        "rope_theta": 10000, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True,
        "use_qk_norm": False, "vocab_size": args.vocab,
    }
    args.folder.mkdir(parents=True, exist_ok=True)
    if left := [p.name for p in args.folder.glob("*.safetensors*")]:
        parser.error(f"{args.folder} already holds weights: {', '.join(left)}")
    if args.tokenizer:
        largest = largest_id(json.loads(args.tokenizer.read_text(encoding="utf-8")))
        if largest >= args.vocab:
            parser.error(f"{args.tokenizer} has token id {largest}; --vocab {args.vocab} is too small")
        shutil.copyfile(args.tokenizer, args.folder / "tokenizer.json")
    else:
        (args.folder / "tokenizer.json").write_text(json.dumps(byte_tokenizer(config), ensure_ascii=False) + "\n",
                                                    encoding="utf-8")
    (args.folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")

    started, rng = time.time(), np.random.default_rng(args.seed)
    block = bf16(np.float32(DEVIATION) * rng.standard_normal(BLOCK, dtype=np.float32))
    groups = shards(config, args.shard_bytes)
    weight_map, total = {}, 0
    for i, group in enumerate(groups):
        name = "model.safetensors" if len(groups) == 1 else f"model-{i + 1:05}-of-{len(groups):05}.safetensors"
        write_shard(args.folder / name, group, rng, block)
        weight_map.update({tensor: name for tensor, _, _ in group})
        total += sum(length for _, _, length in group)
        print(f"{name}: {total / 1e9:.2f} GB in {time.time() - started:.0f} s", flush=True)
    if len(groups) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        (args.folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main()
