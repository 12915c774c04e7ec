"""Golden values of sparse autoencoders: files in the layouts of SAELens and Gemma Scope, and the features that they give.

Versions: numpy 2.4.6, safetensors 0.8.0, torch 2.15.0.

    pip install numpy safetensors torch
    python tests/generators/sparse_golden.py [--seed N] [--out DIR]

Writes folders under DIR/sparse; without options those committed under tests/fixtures/sparse. The weights are made here. Each
folder holds an autoencoder and `expect.json`: states, their features and what is rebuilt of them, computed here in torch from the
definitions (ReLU; JumpReLU, arXiv 2407.14435; TopK, arXiv 2406.04093; gated, arXiv 2404.16014).
"""

import argparse
import json
import pathlib

import numpy as np
import torch
from safetensors.torch import save_file

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"
WIDTH, FEATURES, ROWS, K = 6, 10, 5, 3


def rounded(rng, *shape):
    """Numbers that f16 holds exactly, so that every format has the same."""
    return torch.as_tensor(np.round(rng.normal(size=shape) * 64) / 64, dtype=torch.float32)


def encode(kind, w, x, centred, norms):
    x = x - w["b_dec"] * centred
    if kind == "gated":
        on = (x @ w["W_enc"] + w["b_gate"]) > 0
        return on * torch.relu(x @ (w["W_enc"] * torch.exp(w["r_mag"])) + w["b_mag"])
    before = x @ w["W_enc"] + w["b_enc"]
    if kind == "topk":
        before = before * norms
        top = torch.topk(before, K, dim=-1)
        return torch.zeros_like(before).scatter(-1, top.indices, torch.relu(top.values))
    z = torch.relu(before)
    return z * (before > w["threshold"]) if kind == "jumprelu" else z


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=23)
    parser.add_argument("--out", type=pathlib.Path, default=FIXTURES)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    old = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}, "architecture": "standard"}
    for name, kind, dtype, more in [
        ("standard", "standard", torch.float32, {"architecture": "standard", "apply_b_dec_to_input": True}),
        ("jumprelu", "jumprelu", torch.bfloat16, {"architecture": "jumprelu", "apply_b_dec_to_input": False}),
        ("topk", "topk", torch.float32, {"architecture": "topk", "k": K, "apply_b_dec_to_input": True}),
        ("topk-rescaled", "topk", torch.float32, {"architecture": "topk", "k": K, "apply_b_dec_to_input": True,
                                                  "rescale_acts_by_decoder_norm": True}),
        ("topk-old", "topk", torch.float16, {**old, "apply_b_dec_to_input": False, "finetuning_scaling_factor": False}),
        ("gated", "gated", torch.float32, {"architecture": "gated", "apply_b_dec_to_input": True}),
        ("gemma-scope", "jumprelu", None, {"apply_b_dec_to_input": False}),
    ]:
        w = {
            "W_enc": rounded(rng, WIDTH, FEATURES),
            "W_dec": rounded(rng, FEATURES, WIDTH),
            "b_dec": rounded(rng, WIDTH),
        }
        if kind == "gated":
            w.update({part: rounded(rng, FEATURES) for part in ["b_gate", "r_mag", "b_mag"]})
        else:
            w["b_enc"] = rounded(rng, FEATURES)
        if kind == "jumprelu":
            w["threshold"] = rounded(rng, FEATURES).abs()
        if dtype is not None:
            w = {part: values.to(dtype) for part, values in w.items()}
        folder = options.out / "sparse" / name
        folder.mkdir(parents=True, exist_ok=True)
        if name == "gemma-scope":
            np.savez(folder / "params.npz", **{part: values.numpy() for part, values in w.items()})
        else:
            save_file(w, folder / "sae_weights.safetensors")
            config = {
                "d_in": WIDTH, "d_sae": FEATURES, "dtype": str(dtype).split(".")[1], "device": "cpu",
                "normalize_activations": "none", "reshape_activations": "none",
                "metadata": {"model_name": "made up", "hook_name": "blocks.0.hook_resid_post"}, **more,
            }
            (folder / "cfg.json").write_text(json.dumps(config, indent=1) + "\n")
        w = {part: values.to(torch.float64) for part, values in w.items()}
        x = rounded(rng, ROWS, WIDTH).to(torch.float64)
        norms = w["W_dec"].norm(dim=-1) if more.get("rescale_acts_by_decoder_norm") else torch.ones(FEATURES)
        z = encode(kind, w, x, more["apply_b_dec_to_input"], norms)
        rebuilt = (z / norms) @ w["W_dec"] + w["b_dec"]
        expect = {"width": WIDTH, "features": FEATURES, "states": x, "codes": z, "rebuilt": rebuilt}
        expect = {k: v if isinstance(v, int) else [float(n) for n in v.ravel()] for k, v in expect.items()}
        (folder / "expect.json").write_text(json.dumps(expect) + "\n")


if __name__ == "__main__":
    main()
