"""Log-likelihoods of CrowS pairs by lm-evaluation-harness's `hf` model, beside `model score`.

    pip install lm_eval==0.4.13 torch==2.15.0 transformers==5.24.0
    python tests/peers/lm_eval_pairs.py REAL PAIRS XTASK

REAL, PAIRS and XTASK as for tests/generators/gguf_real.py: 16 pairs in each of four languages. Each sentence goes through
`HFLM.loglikelihood` as its tasks of whole sentences do it (crows_pairs_*): empty context, the sentence as continuation.
The harness runs the folder that transformers made of the file, ours the file itself.

SmolLM2's own tokenizer cuts numbers into digits, which transformers' reader of GGUF leaves out; here it is put back.
"""
import csv
import json
import subprocess
import sys
from pathlib import Path

import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

MODELS = {"gemma3-270m": "gemma-3-270m-q4_k_m.gguf", "smollm2-135m": "SmolLM2-135M-Instruct.Q4_1.gguf"}
LANGUAGES = ["en", "fr", "de", "nl"]


def harness(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if folder.name == "smollm2-135m":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    # In f32 its softmax over 262 144 entries alone is off by as much as a thousandth of a nat over a sentence.
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu", softmax_dtype="float64")


def main():
    real, table, xtask = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with open(table, encoding="utf-8", newline="") as lines:
        texts = {row["nyu_id"]: row for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)}
    for name, file in MODELS.items():
        ours, sentences = [], []
        for language in LANGUAGES:
            shown = subprocess.run([xtask, "model", "score", real / file, "--pairs", table, "--language", language,
                                    "--limit", "16", "--json"], check=True, capture_output=True)
            for pair in json.loads(shown.stdout)["pairs"]:
                row = texts[str(pair["id"])]
                ours.append((pair["more"], pair["less"]))
                sentences += [row[f"{language}_more"], row[f"{language}_less"]]
        requests = [Instance("loglikelihood", {}, ("", text), at) for at, text in enumerate(sentences)]
        found = [likelihood for likelihood, _ in harness(real / name).loglikelihood(requests, disable_tqdm=True)]
        theirs = list(zip(found[::2], found[1::2]))
        worst = max(abs(a - b) for mine, other in zip(ours, theirs) for a, b in zip(mine, other))
        total = abs(sum(sum(pair) for pair in ours) - sum(sum(pair) for pair in theirs))
        decisions = sum((a > b) != (c > d) for (a, b), (c, d) in zip(ours, theirs))
        print(f"| {file} | {len(ours)} | {worst:.1e} | {total:.1e} | {decisions} |", flush=True)


if __name__ == "__main__":
    main()
