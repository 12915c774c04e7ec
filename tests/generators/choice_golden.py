"""Golden values of choices: log-likelihoods of candidates, answers and accuracies by lm-evaluation-harness, ranks by SciPy.

    pip install lm_eval==0.4.13 torch transformers scipy
    python tests/generators/choice_golden.py [--seed N] [--out DIR]

Writes DIR/metrics/choice.json; DIR is tests/fixtures unless given. Nothing is restated here: `ConfigurableTask.process_results`
of lm-evaluation-harness judges invented log-likelihoods, its `HFLM` scores candidates after prompts with the committed tiny
model, and `scipy.stats.spearmanr` correlates ranks.
"""

import argparse
import json
import os
import pathlib
import random

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from transformers import AutoConfig, PreTrainedTokenizerFast
from scipy.stats import spearmanr
from tokenizers.processors import TemplateProcessing

WORDS = ["eau", "été", "Straße", "l'herbe", "Übergrößenträger", "a", "naïf", "Ελλάδα", "毛", "sixty minutes", "vingt-deux", "🙂"]
# Prompt and candidates as an item has them; the blank between them is the task's delimiter.
SCORED = [
    ("The house is", ["big", "small", "very old indeed"]),
    ("La maison est", ["très grande", "petite", "à vendre"]),
    ("Das Haus hat", ["Türen", "Bäume", "kein Dach"]),
    ("", ["He sees books.", "He see books."]),
    ("", ["Zij heeft een lamp.", "Zij hebben een lamp.", "lamp"]),
]


class Stub:
    """What `process_results` reads of a task."""

    OUTPUT_TYPE = "multiple_choice"
    multiple_input = 0
    multiple_target = 0

    class config:
        process_results = None
        use_prompt = None

    def __init__(self):
        self._metric_fn_list = {"acc": None, "acc_norm": None, "acc_bytes": None}

    def doc_to_choice(self, doc):
        return doc["candidates"]

    def doc_to_target(self, doc):
        return doc["gold"]


def judged(rng):
    items = []
    for _ in range(60):
        candidates = rng.sample(WORDS, rng.randint(2, 5))
        values = [-0.7 * len(c) * rng.uniform(0.5, 1.5) for c in candidates]
        if rng.random() < 0.2:
            values[-1] = values[0]
        doc = {"candidates": candidates, "gold": rng.randrange(len(candidates))}
        found = ConfigurableTask.process_results(Stub(), doc, [(v, False) for v in values])
        items.append({**doc, "log_likelihoods": values, "right": [found[k] for k in ("acc", "acc_norm", "acc_bytes")]})
    return items


def ranked(rng):
    cases = []
    for _ in range(40):
        n = rng.randint(2, 6)
        a, b = ([float(rng.randint(-4, 0)) for _ in range(n)] for _ in range(2))
        value = float(spearmanr(a, b).statistic) if len(set(a)) > 1 and len(set(b)) > 1 else None
        cases.append({"a": a, "b": b, "spearman": value})
    return cases


def scored(folder):
    # Every text stands behind the model's start token, as everywhere in this project.
    # The tokenizer is that of the file: without tokenizer_config.json, AutoTokenizer makes one with other settings of it.
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    start = AutoConfig.from_pretrained(folder).bos_token_id
    tokenizer.bos_token = tokenizer.convert_ids_to_tokens(start)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{tokenizer.bos_token} $A", special_tokens=[(tokenizer.bos_token, start)]
    )
    model = HFLM(
        pretrained=str(folder), tokenizer=tokenizer, device="cpu", dtype="float32", add_bos_token=True, batch_size=1
    )
    items = []
    for prompt, candidates in SCORED:
        pairs = [(prompt, f" {c}" if prompt else c) for c in candidates]
        found = model.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in pairs], disable_tqdm=True)
        items.append({"prompt": prompt, "candidates": candidates, "log_likelihoods": [value for value, _ in found]})
    return items


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=7)
    root = pathlib.Path(__file__).resolve().parents[1]
    parser.add_argument("--out", type=pathlib.Path, default=root / "fixtures")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(flags.seed)
    values = {
        "made_with": "lm_eval 0.4.13, scipy",
        "judged": judged(rng),
        "ranked": ranked(rng),
        "scored": scored(root / "fixtures/models/cohere-f32"),
    }
    path = flags.out / "metrics/choice.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n")


main()
