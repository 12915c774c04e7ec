"""What products from 8-bit activations would change: log-likelihoods of CrowS pairs with the inputs of all products rounded.

    pip install torch==2.15.0 transformers==5.24.0
    python tests/peers/int8_activations.py REAL PAIRS [NAME…]

Engines that multiply blocks of quantised weights with integers round the other factor too: here, as in llama.cpp (Q8_0), to
int8 in blocks of 32 values with one scale each. REAL holds the folders that transformers made of the GGUF files (their
dequantised weights), PAIRS the columns of CrowS-Pairs; 16 pairs in each of four languages, f32 beside the rounded ones.
"""
import csv
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

LANGUAGES = ["en", "fr", "de", "nl"]


def rounded(x):
    """The values that int8 blocks of 32 can hold."""
    blocks = x.reshape(*x.shape[:-1], -1, 32)
    scale = (blocks.abs().amax(-1, keepdim=True) / 127).half().float()
    whole = torch.where(scale > 0, blocks / scale.clamp_min(1e-30), torch.zeros_like(blocks)).round().clamp(-127, 127)
    return (whole * scale).reshape(x.shape)


def main():
    real, table = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with open(table, encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))[:16]
    for name in sys.argv[3:] or ["gemma3-270m", "smollm2-135m"]:
        tokenizer = AutoTokenizer.from_pretrained(real / name)
        model = AutoModelForCausalLM.from_pretrained(real / name, dtype=torch.float32).eval()

        def score(text):
            ids = torch.tensor([[tokenizer.bos_token_id] + tokenizer.encode(text, add_special_tokens=False)])
            with torch.no_grad():
                logs = model(ids).logits.double().log_softmax(-1)
            return logs[0, :-1].gather(1, ids[0, 1:, None]).sum().item()

        pairs = [(row[f"{language}_more"], row[f"{language}_less"]) for language in LANGUAGES for row in rows]
        before = [(score(a), score(b)) for a, b in pairs]
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_pre_hook(lambda _, inputs: (rounded(inputs[0]), *inputs[1:]))
        after = [(score(a), score(b)) for a, b in pairs]
        changes = [abs(x - y) for p, q in zip(before, after) for x, y in zip(p, q)]
        gaps = [abs((a - b) - (c - d)) for (a, b), (c, d) in zip(before, after)]
        other = sum((a > b) != (c > d) for (a, b), (c, d) in zip(before, after))
        mean = sum(changes) / len(changes)
        print(f"| {name} | {len(pairs)} | {mean:.2f} | {max(changes):.2f} | {max(gaps):.2f} | {other} |", flush=True)


if __name__ == "__main__":
    main()
