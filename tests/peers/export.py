"""Exported models in their own runtimes beside the model under the edit: logits, and the likeliest next tokens.

    pip install torch==2.15.0 transformers==5.24.0 safetensors==0.8.0 peft gguf==0.19.0
    python tests/peers/export.py MODEL --edit edit.safetensors --program target/debug/interlingua --as hf
    python tests/peers/export.py MODEL --edit edit.safetensors --program target/debug/interlingua --as peft

MODEL is a checkpoint folder in f32. Texts are tests/peers/sentences.txt: 50, in English, French, German and Dutch. The
logits under the edit are those of `interlingua model capture --edit --logits`. Exit code 1 where logits differ by more
than 1e-3 of the largest, or a likeliest token is another.
"""
import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--edit", required=True)
    parser.add_argument("--program", required=True)
    parser.add_argument("--as", dest="format", choices=["hf", "peft"], required=True)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    texts = Path(__file__).with_name("sentences.txt")
    with tempfile.TemporaryDirectory() as place:
        out, captured = Path(place) / "exported", Path(place) / "captured.safetensors"
        run = lambda *words: subprocess.run([args.program, *map(str, words)], check=True)
        run("export", args.model, "--edit", args.edit, "--as", args.format, "--out", out)
        run("model", "capture", args.model, "--text", texts, "--edit", args.edit, "--logits", "--no-log-probs",
            "--device", "cpu", "--out", captured)
        tokenizer = AutoTokenizer.from_pretrained(args.model)
        source = out if args.format == "hf" else args.model
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager")
        if args.format == "peft":
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, out)
        model.eval()
        file = safe_open(captured, "pt")
        offsets = file.get_tensor("offsets").tolist()
        logits = file.get_slice("logits")
        largest = other = tokens = 0
        for i, text in enumerate(texts.read_text(encoding="utf-8").splitlines()):
            ours = logits[offsets[i]:offsets[i + 1]]
            ids = tokenizer(text, return_tensors="pt")["input_ids"]
            with torch.no_grad():
                theirs = model(ids).logits[0]
            largest = max(largest, ((ours - theirs).abs().max() / theirs.abs().max()).item())
            other += (ours.argmax(-1) != theirs.argmax(-1)).sum().item()
            tokens += ids.shape[1]
    print(f"{args.format}: {i + 1} texts, {tokens} tokens: logits differ by at most {largest:.1e} of the largest, "
          f"{other} likeliest tokens are others")
    sys.exit(largest > 1e-3 or other > 0)


if __name__ == "__main__":
    main()
