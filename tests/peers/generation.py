"""Greedy generation of `interlingua generate` beside transformers: the same tokens, and how many a second.

    pip install torch==2.15.0 transformers==5.24.0 safetensors==0.8.0
    python tests/peers/generation.py MODEL --program target/debug/interlingua
    python tests/peers/generation.py MODEL --program target/debug/interlingua --edit edit.safetensors

MODEL is a checkpoint folder. Prompts are tests/peers/prompts.txt: 20, in English, French, German and Dutch. With
--edit, transformers runs under forward hooks that do what the file says. Tokens are compared prompt by prompt;
times are of the first prompt alone and of the first 16 at once, without the edit.
Exit code 1 where a token differs.
"""
import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer


class Edit:
    """An intervention file as forward hooks of a transformers model of Llama's or Gemma's layout."""

    def __init__(self, path, model):
        file = safe_open(path, "np")
        self.header = json.loads(file.metadata()["interlingua"])
        self.given = 0  # tokens of the prompt, the start token included
        self.past = 0  # tokens that were read in earlier passes
        for i, step in enumerate(self.header["steps"]):
            assert step["space"] == "raw", "only edits of the states themselves"
            b = file.get_tensor(f"{i}.offset")
            left, right = (self.factor(file, i, side, step, len(b)) for side in ("left", "right"))
            self.attach(model, step, [torch.tensor(x, dtype=torch.float32) for x in (left, right, b)])
        # Counts what was read, once per pass.
        model.model.register_forward_hook(lambda module, args, kwargs, out: self.read(out[0]), with_kwargs=True)

    def factor(self, file, i, side, step, k):
        form, name = step[side], f"{i}.{side}"
        rows = file.get_tensor(name) if form == "dense" else np.zeros((k, step["dim"]))
        if form == "units":
            rows[np.arange(k), file.get_tensor(name + ".units")] = file.get_tensor(name + ".weights")
        return rows

    def read(self, out):
        self.past += out.shape[1]

    def start(self, given):
        self.given, self.past = given, 0

    def chosen(self, tokens, count):
        """Which of the rows of this pass are edited."""
        at = torch.arange(self.past, self.past + count)
        return {
            "all": at >= 0,
            "text": at >= 1,
            "last": at == self.past + count - 1,
            "prompt": (at >= 1) & (at < self.given),
            "generated": at >= self.given,
        }[tokens]

    def attach(self, model, step, factors):
        left, right, b = factors

        def edit(h):
            rows = self.chosen(step["tokens"], h.shape[1])
            changed = h - (h @ right.T - b) @ left
            return torch.where(rows[None, :, None], changed, h)

        def output(module, args, out):
            return (edit(out[0]), *out[1:]) if isinstance(out, tuple) else edit(out)

        def input(module, args):
            return (edit(args[0]), *args[1:])

        hook = step["hook"]
        if hook == "final_norm":
            return model.model.norm.register_forward_hook(output)
        _, layer, part = hook.split(".")
        block = model.model.layers[int(layer)]
        after = hasattr(block, "post_feedforward_layernorm")
        modules = {
            "queries": block.self_attn.q_proj,
            "keys": block.self_attn.k_proj,
            "values": block.self_attn.v_proj,
            "gate": block.mlp.gate_proj,
            "attention": block.post_attention_layernorm if after else block.self_attn,
            "mlp": block.post_feedforward_layernorm if after else block.mlp,
            "output": block,
        }
        if part in modules:
            return modules[part].register_forward_hook(output)
        module = {"input": block, "heads": block.self_attn.o_proj, "units": block.mlp.down_proj}[part]
        return module.register_forward_pre_hook(input)


def ours(args, prompts, batch, edit):
    folder = Path(args.model)
    command = [args.program, "generate", str(folder), "--json", "--tokens", str(args.tokens), "--batch", str(batch)]
    command += ["--device", "cpu", "--residency", "resident"]
    for prompt in prompts:
        command += ["--prompt", prompt]
    if edit:
        command += ["--edit", edit]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    side = "edited" if edit else "unedited"
    count = sum(len(row[side]["tokens"]) for row in found["texts"])
    return [(row["prompt_tokens"], row[side]["tokens"]) for row in found["texts"]], count / found["seconds"]


def theirs(model, tokenizer, prompts, args):
    options = {"do_sample": False, "max_new_tokens": args.tokens, "pad_token_id": tokenizer.pad_token_id or 0}
    inputs = tokenizer(prompts, return_tensors="pt", padding=len(prompts) > 1)
    begin = time.perf_counter()
    with torch.no_grad():
        out = model.generate(**inputs, **options)
    seconds = time.perf_counter() - begin
    new = out[:, inputs["input_ids"].shape[1]:]
    return [row.tolist() for row in new], new.numel() / seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--program", required=True)
    parser.add_argument("--edit")
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--time", action="store_true", help="also time, one prompt and sixteen")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    prompts = Path(__file__).with_name("prompts.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").eval()
    edit = Edit(args.edit, model) if args.edit else None
    found, _ = ours(args, prompts, 16, args.edit)
    differing = 0
    for prompt, (prompt_tokens, tokens) in zip(prompts, found):
        ids = tokenizer(prompt)["input_ids"]
        assert ids == prompt_tokens, f"{prompt}: {ids} {prompt_tokens}"
        if edit:
            edit.start(len(ids))
        [expected], _ = theirs(model, tokenizer, [prompt], args)
        if expected != tokens:
            differing += 1
            print(f"differs: {prompt}\n  ours   {tokens}\n  theirs {expected}")
    print(f"{len(prompts) - differing} of {len(prompts)} texts of up to {args.tokens} tokens are equal")
    if args.time and not edit:
        for count in (1, 16):
            _, we = ours(args, prompts[:count], count, None)
            _, they = theirs(model, tokenizer, prompts[:count], args)
            print(f"{count} prompt(s): ours {we:.1f} tokens/s, transformers {they:.1f} tokens/s")
    sys.exit(differing > 0)


if __name__ == "__main__":
    main()
