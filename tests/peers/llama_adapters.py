"""GGUF files, adapters and control vectors in llama.cpp beside the model under the edit: logits, and the likeliest next tokens.

    pip install numpy gguf==0.19.0 safetensors==0.8.0 llama-cpp-python==0.3.36
    python tests/peers/llama.py widen MODEL.gguf F32.gguf
    python tests/peers/llama_adapters.py F32.gguf --edit edit.safetensors --as gguf-lora --program target/debug/interlingua

The model is a GGUF file in f32, so that llama.cpp rounds no factor of its products to whole numbers; its cache is in f32 too.
Texts are tests/peers/sentences.txt: 50, in English, French, German and Dutch. The logits under the edit are those of
`interlingua model capture --edit --logits`. Without --edit the model itself is compared. Exit code 1 where logits differ by
more than 1e-3 of the largest, a likeliest token is another, or an edit changes nothing.
"""
import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors import safe_open

from llama import Llama


def rows(file, name, offsets):
    part = file.get_slice(name)
    return (part[a:b] for a, b in zip(offsets[:-1], offsets[1:]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--edit")
    parser.add_argument("--as", dest="format", choices=["gguf", "gguf-lora", "gguf-control-vector"], default="gguf-lora")
    parser.add_argument("--program", required=True)
    parser.add_argument("--in-ours", help="the model that our side reads, if it is not the same file")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    texts = Path(__file__).with_name("sentences.txt")
    source = args.in_ours or args.model
    plain = Llama(args.model, args.threads, exact=True) if args.edit else None
    with tempfile.TemporaryDirectory() as place:
        captured, out = Path(place) / "captured.safetensors", Path(place) / "edit.gguf"
        run = lambda *words: subprocess.run([args.program, *map(str, words)], check=True)
        edit = ["--edit", args.edit] if args.edit else []
        run("model", "capture", source, "--text", texts, *edit, "--logits", "--no-log-probs", "--device", "cpu", "--out", captured)
        if args.edit:
            run("export", source, *edit, "--as", args.format, "--out", out)
        whole = args.edit and args.format == "gguf"
        theirs = Llama(out if whole else args.model, args.threads, exact=True)
        if args.edit and not whole:
            (theirs.adapter if args.format == "gguf-lora" else theirs.steer)(out)
        file = safe_open(captured, "np")
        offsets = file.get_tensor("offsets").tolist()
        ids = file.get_tensor("token_ids")
        largest = moved = other = others_of_edit = other_ids = tokens = 0
        all_of = zip(texts.read_text(encoding="utf-8").splitlines(), offsets[:-1], offsets[1:], rows(file, "logits", offsets))
        for i, (text, a, b, ours) in enumerate(all_of):
            own = ids[a:b].tolist()
            other_ids += own != theirs.ids(text)
            logits = theirs.all_logits(own)
            scale = np.abs(logits).max()
            largest = max(largest, np.abs(ours - logits).max() / scale)
            other += (ours.argmax(-1) != logits.argmax(-1)).sum()
            tokens += b - a
            if plain:
                unedited = plain.all_logits(own)
                moved = max(moved, np.abs(unedited - logits).max() / scale)
                others_of_edit += (unedited.argmax(-1) != logits.argmax(-1)).sum()
    name = args.format if args.edit else "no edit"
    print(f"{name}: {i + 1} texts, {tokens} tokens, {other_ids} texts with other ids: logits differ by at most {largest:.1e} of the "
          f"largest, {other} likeliest tokens are others")
    if args.edit:
        print(f"the edit moves logits by up to {moved:.1e} of the largest and makes {others_of_edit} other tokens the likeliest")
    sys.exit(bool(largest > 1e-3 or other or other_ids or args.edit and moved <= 1e-3))


if __name__ == "__main__":
    main()
