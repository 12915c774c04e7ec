"""A GGUF adapter, read by the package gguf, beside the weights that `export --as hf` writes.

    pip install numpy gguf==0.19.0 safetensors==0.8.0
    python tests/peers/gguf_adapter.py tests/fixtures/models/architectures/llama-llama3 --program target/debug/interlingua

MODEL is a checkpoint folder of Llama's layout with one file of weights in f32. An edit at the queries (whose rows GGUF has in
another order), at what attention's heads make and at the MLP is exported both ways; B·A must be the difference of the weights.
"""
import argparse
import json
import subprocess
import tempfile

import gguf
import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--program", required=True)
args = parser.parse_args()
random = np.random.default_rng(1)
with tempfile.TemporaryDirectory() as place:
    run = lambda *words: subprocess.run([args.program, *words], check=True, capture_output=True)
    run("fit", args.model, "--method", "none", "--tokens", "all", "--out", f"{place}/none.safetensors")
    header = json.loads(safe_open(f"{place}/none.safetensors", "np").metadata()["interlingua"])
    shape = header["model"]
    heads = shape["heads"]
    sites = [("block.0.queries", heads * shape["head_dim"]), ("block.0.heads", heads * shape["head_dim"]),
             ("block.1.mlp", shape["hidden"])]
    common = {"space": "raw", "reinsert": "residual", "tokens": "all", "left": "dense", "right": "dense"}
    header["steps"] = [{"hook": hook, "dim": width, **common} for hook, width in sites]
    tensors = {}
    for i, (_, width) in enumerate(sites):
        tensors[f"{i}.left"], tensors[f"{i}.right"] = 0.4 * random.standard_normal((2, 2, width))
        tensors[f"{i}.offset"] = np.zeros(2)
    save_file(tensors, f"{place}/edit.safetensors", metadata={"interlingua": json.dumps(header)})
    for form, out in (("hf", "folder"), ("gguf-lora", "adapter.gguf")):
        run("export", args.model, "--edit", f"{place}/edit.safetensors", "--as", form, "--out", f"{place}/{out}")
    reader = gguf.GGUFReader(f"{place}/adapter.gguf")
    adapter = {tensor.name: tensor.data for tensor in reader.tensors}
    alpha = reader.fields["adapter.lora.alpha"].contents()
    old, new = load_file(f"{args.model}/model.safetensors"), load_file(f"{place}/folder/model.safetensors")
    for name, module in [("blk.0.attn_q", "model.layers.0.self_attn.q_proj"),
                         ("blk.0.attn_output", "model.layers.0.self_attn.o_proj"),
                         ("blk.1.ffn_down", "model.layers.1.mlp.down_proj")]:
        change = new[f"{module}.weight"] - old[f"{module}.weight"]
        if name.endswith("attn_q"):
            rows, columns = change.shape
            change = change.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
        a, b = adapter[f"{name}.weight.lora_a"], adapter[f"{name}.weight.lora_b"]
        apart = np.abs(alpha / len(a) * (b @ a) - change).max() / np.abs(change).max()
        print(f"{name}: B·A is the change of the weight to {apart:.0e} of the largest")
        assert apart < 1e-5
