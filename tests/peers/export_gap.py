"""The gap and the perplexity of exported models in their own runtimes, beside `interlingua measure --edit`.

    pip install torch==2.15.0 transformers==5.24.0 safetensors==0.8.0 peft gguf==0.19.0 llama-cpp-python==0.3.36
    python tests/peers/export_gap.py FOLDER --edit edit.safetensors --program target/debug/interlingua --as hf --pairs PAIRS.tsv
    python tests/peers/export_gap.py F32.gguf --edit edit.safetensors --program target/debug/interlingua --as gguf-lora --pairs PAIRS.tsv

FOLDER is a checkpoint folder in f32, F32.gguf a GGUF file in f32 (`python tests/peers/llama.py widen MODEL.gguf F32.gguf`).
PAIRS is a table with columns such as en_more and en_less and a column bias_type, the parallel CrowS-Pairs for example; neutral
sentences are datasets/neutral.tsv. A gap is the sum of log-likelihoods of one sentence less that of its counterpart, in nats.
Exit code 1 where a gap, or a perplexity, is another in the third digit.
"""
import argparse
import csv
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
LANGUAGES = ["en", "fr", "de", "nl"]


def sum_of_log_probs(logits, ids):
    """Over all tokens but the start token, in f64."""
    logits = np.asarray(logits, dtype=np.float64)[:-1]
    largest = logits.max(-1)
    normal = largest + np.log(np.exp(logits - largest[:, None]).sum(-1))
    return (logits[np.arange(len(ids) - 1), ids[1:]] - normal).sum()


def in_transformers(source, adapter, threads):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager")
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    model.eval()
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id

    def score(text):
        ids = [start, *tokenizer(text, add_special_tokens=False)["input_ids"]]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].numpy()
        return sum_of_log_probs(logits, ids), len(ids) - 1

    return score


def in_llama(source, adapter, threads, format):
    from llama import Llama

    model = Llama(source, threads, exact=True)
    if adapter:
        (model.adapter if format == "gguf-lora" else model.steer)(adapter)

    def score(text):
        ids = model.ids(text)
        return sum_of_log_probs(model.all_logits(ids), ids), len(ids) - 1

    return score


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--edit", required=True)
    parser.add_argument("--program", required=True)
    parser.add_argument("--pairs", required=True, help="a table with columns more and less in each of four languages, such as en_more")
    parser.add_argument("--limit", type=int, default=24, help="pairs in each language")
    parser.add_argument("--as", dest="format", choices=["hf", "peft", "gguf", "gguf-lora", "gguf-control-vector"], required=True)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    with open(args.pairs, encoding="utf-8", newline="") as lines:
        table = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))[:args.limit]
    with open(ROOT / "datasets/neutral.tsv", encoding="utf-8", newline="") as lines:
        neutral = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / ("exported.gguf" if "gguf" in args.format else "exported")
        run = lambda *words: subprocess.run([args.program, *map(str, words)], check=True, capture_output=True).stdout
        run("export", args.model, "--edit", args.edit, "--as", args.format, "--out", out)
        measured = json.loads(run("measure", args.model, "--edit", args.edit, "--tasks", args.pairs, "--limit", args.limit,
                                  "--device", "cpu", "--json"))
        whole = args.format in ("hf", "gguf")
        source, adapter = (out, None) if whole else (args.model, out)
        in_llama_cpp = "gguf" in args.format
        score = in_llama(source, adapter, args.threads, args.format) if in_llama_cpp else in_transformers(source, adapter, args.threads)
        theirs = {}
        for language in LANGUAGES:
            for row in table:
                gap = score(row[f"{language}_more"])[0] - score(row[f"{language}_less"])[0]
                theirs.setdefault((language, "mean gap", row["bias_type"]), []).append(gap)
            found = [score(row[language]) for row in neutral if row[language]]
            nats, tokens = map(sum, zip(*found))
            theirs[language, "perplexity", ""] = [math.exp(-nats / tokens)]
    ours = {(row["language"], row["metric"], row["category"]): row["estimate"]["value"]
            for row in measured["rows"] if row["model"] == "edited"}
    wrong = 0
    worst = {"mean gap": 0.0, "perplexity": 0.0}
    for (language, metric, category), values in theirs.items():
        mine, other = ours[language, metric, category], float(np.mean(values))
        worst[metric] = max(worst[metric], abs(mine - other) / (1 if metric == "mean gap" else other))
        wrong += abs(mine - other) > 5e-4 * max(1.0, abs(other))
        print(f"  {language} {metric} {category}: {mine:.4f} here, {other:.4f} there")
    print(f"{args.format}: {len(theirs)} numbers, {len(table)} pairs and {len(neutral)} sentences in each language: mean gaps differ by at "
          f"most {worst['mean gap']:.1e} nats, perplexities by {worst['perplexity']:.1e} of themselves")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
