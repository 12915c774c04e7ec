"""Real GGUF files against transformers: token ids for the tests, states and log-likelihoods for docs/models.md.

    pip install torch==2.15.0 transformers==5.24.0 safetensors==0.8.0 tokenizers==0.23.3 gguf==0.19.0
    python tests/generators/gguf_real.py ids REAL TSV                 writes tests/fixtures/models/gguf_real.golden.json
    python tests/generators/gguf_real.py states REAL TSV XTASK        prints a table
    python tests/generators/gguf_real.py pairs REAL PAIRS XTASK       prints a table

REAL holds the files below and, for each, a folder that transformers made of it: its dequantised weights in f32 and its
tokenizer. TSV has a column of sentences per language, PAIRS the columns of CrowS-Pairs; XTASK is the built `xtask`.
Sentences are named by row (after the header) and column, never stored.

SmolLM2's own tokenizer cuts numbers into digits. transformers' reader of GGUF leaves that out; here it is put back.
"""
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoModelForCausalLM

import architectures

OUT = Path(__file__).parent.parent / "fixtures" / "models"
MODELS = {"gemma3-270m": "gemma-3-270m-q4_k_m.gguf", "smollm2-135m": "SmolLM2-135M-Instruct.Q4_1.gguf"}
LANGUAGES = ["en", "fr", "de", "nl"]
ROWS = [7 + 130 * k for k in range(100)]
EDGES = [
    "", " ", "  two  spaces ", "eight        spaces", "tab\tand\nline\r\n\n\nmore\t\t\ttabs", "na\u00efve na\u0131\u0308ve cafe\u0301",
    "\u00c5ngstr\u00f6m \u017dlu\u0165", "\u4f60\u597d \U0001f642\u200d\u2640\ufe0f \U0001f1f3\U0001f1f1", "3,141.59 % of \u20ac1000 in 2024",
    "don't l'\u00e9t\u00e9 's-Gravenhage WE'LL", "<s> [MASK] </s> <bos> <eos>x<|im_start|> <|endoftext|>", "UPPER Stra\u00dfe \u0130stanbul",
    "\u201cquoted\u201d \u2026 \u2014 \u00ab\u00a0oui\u00a0\u00bb", "\x00\x07\x1b[0m \ue000 \U000e0041", "a" * 150, "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\u2581under \u2581\u2581twice", "<0x41> <unk>", "\u1e9b\u0323 \ufb01 \u212b", "if x:\n    return  [i  for i in (1, 22, 333)]",
]


def tokenizer(folder, name):
    tokenizer = Tokenizer.from_file(str(folder / name / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if name == "smollm2-135m":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    # Special tokens that a text spells are text, as in llama.cpp.
    tokenizer.encode_special_tokens = True
    return tokenizer


def rows(path):
    lines = Path(path).read_text("utf-8").split("\n")
    columns = lines[0].split("\t")
    table = [line.split("\t") for line in lines[1:] if line]
    return lambda row, language: table[row][columns.index(language)]


def ids(real, tsv):
    sentence, golden = rows(tsv), {}
    for name in MODELS:
        encode = lambda text, t=tokenizer(real, name): t.encode(text, add_special_tokens=False).ids
        golden[name] = {
            "file": MODELS[name],
            "sentences": {language: [encode(sentence(row, language)) for row in ROWS] for language in LANGUAGES},
            "edges": [{"text": text, "ids": encode(text)} for text in EDGES],
        }
    text = json.dumps({"rows": ROWS, **golden}, separators=(",", ":"))
    (OUT / "gguf_real.golden.json").write_text(text.replace("],[", "],\n[") + "\n")


def states(real, tsv, xtask):
    """Largest differences at every hook point, relative to the largest value of the tensor, one batch at a time."""
    sentence = rows(tsv)
    texts = [sentence(row, language) for language in LANGUAGES for row in ROWS[::4]]
    layout = architectures.LAYOUTS
    for name, file in MODELS.items():
        model = AutoModelForCausalLM.from_pretrained(real / name, dtype=torch.float32, attn_implementation="eager").eval()
        worst, argmax, tokens = {}, 0, 0
        for first in range(0, len(texts), 10):
            with tempfile.TemporaryDirectory() as folder:
                lines, out = Path(folder, "texts.txt"), Path(folder, "states.safetensors")
                lines.write_text("\n".join(texts[first:first + 10]) + "\n", "utf-8")
                subprocess.run([xtask, "model", "capture", real / file, "--text", lines, "--hooks", "all", "--logits",
                                "--no-log-probs", "--out", out], check=True, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
                ours = load_file(out)
            bounds = ours["offsets"].tolist()
            for begin, end in zip(bounds, bounds[1:]):
                batch = ours["token_ids"][begin:end].tolist()
                run = architectures.forward(model, layout[type(model).__name__], [batch], "right")[0]
                for hook, theirs in run.items():
                    mine = ours["logits" if hook == "logits" else f"states.{hook}"][begin:end]
                    kind = hook.split(".")[-1]
                    difference = ((mine - theirs).abs().max() / theirs.abs().max()).item()
                    worst[kind] = max(worst.get(kind, 0.0), difference)
                    if hook == "logits":
                        argmax += (mine.argmax(-1) != theirs.argmax(-1)).sum().item()
                tokens += end - begin
            print(f"{name}: {first + 10} texts", file=sys.stderr, flush=True)
        cells = [f"{worst[k]:.1e}" for k in ("embedding", "input", "attention", "mlp", "output", "final_norm", "logits")]
        print(f"| {file} | {' | '.join(cells)} | {argmax} of {tokens} |", flush=True)


def pairs(real, table, xtask):
    """Log-likelihoods of 16 pairs a language as lm-evaluation-harness's `hf` model takes them: after BOS, all of it."""
    with open(table, encoding="utf-8", newline="") as lines:
        texts = {row["nyu_id"]: row for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)}
    for name, file in MODELS.items():
        model = AutoModelForCausalLM.from_pretrained(real / name, dtype=torch.float32).eval()
        encode, config = tokenizer(real, name), json.loads((real / name / "tokenizer_config.json").read_text())
        bos = encode.token_to_id(config["bos_token"])

        def score(text):
            batch = torch.tensor([[bos] + encode.encode(text, add_special_tokens=False).ids])
            with torch.no_grad():
                logs = model(batch).logits.double().log_softmax(-1)
            return logs[0, :-1].gather(1, batch[0, 1:, None]).sum().item()

        count, worst, other = 0, 0.0, 0
        for language in LANGUAGES:
            shown = subprocess.run([xtask, "model", "score", real / file, "--pairs", table, "--language", language,
                                    "--limit", "16", "--json"], check=True, capture_output=True)
            for pair in json.loads(shown.stdout)["pairs"]:
                row = texts[str(pair["id"])]
                more, less = score(row[f"{language}_more"]), score(row[f"{language}_less"])
                worst = max(worst, abs(pair["more"] - more), abs(pair["less"] - less))
                other += (pair["more"] > pair["less"]) != (more > less)
                count += 1
        print(f"| {file} | {count} | {worst:.1e} | {other} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    {"ids": ids, "states": states, "pairs": pairs}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
