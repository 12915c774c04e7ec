"""Tiny random sequence classifiers, with the logits and probabilities that transformers gives for texts.

    pip install torch==2.15.0 transformers==5.24.0 safetensors==0.8.0 tokenizers==0.23.3
    python tests/generators/classifiers_golden.py [--seed N] [--out DIR]

Writes DIR/NAME/ (config.json, model.safetensors, tokenizer.json) and DIR/classifiers.json
(DIR: tests/fixtures/models/classifiers). Probabilities are those of `pipeline("text-classification")`, read back from the folder
as it was written. The texts hold words that the tokenizer does not know, no word, and more words than the model takes: the last are
cut by `truncation=True`.
"""
import argparse
import json
import shutil
import zlib
from pathlib import Path

import torch
import transformers

from architectures import Case, distilbert, encoder, randomize, roberta, write_tokenizer

FIXTURES = Path(__file__).parent.parent / "fixtures" / "models" / "classifiers"
NAMED = dict(id2label={0: "neutral", 1: "toxic"}, label2id={"neutral": 0, "toxic": 1})
SEVERAL = dict(id2label={0: "insult", 1: "threat", 2: "obscene"}, problem_type="multi_label_classification")

CASES = [
    Case("bert", "BertForSequenceClassification", encoder(8, 2, 2, 10, layer_norm_eps=2e-3, **NAMED)),
    Case("distilbert", "DistilBertForSequenceClassification", distilbert(9, 1, 3, 10, **SEVERAL)),
    Case("xlm-roberta", "XLMRobertaForSequenceClassification", roberta(8, 1, 4, 9, **NAMED)),
    Case("roberta", "RobertaForSequenceClassification", roberta(8, 1, 2, 9, num_labels=1)),
]


def texts(generator):
    word = lambda: f"t{int(torch.randint(6, 36, (1,), generator=generator))}"
    return [" ".join(word() for _ in range(n)) for n in (1, 5, 12, 16, 17, 40)] + ["", "t7 unknown t8"]


def special(case):
    """The architectures' generator knows which special tokens a model has by the class of its encoder."""
    return Case(case.name, {"BertForSequenceClassification": "BertModel",
                            "DistilBertForSequenceClassification": "DistilBertModel"}.get(case.model, "XLMRobertaModel"),
                case.kwargs)


@torch.no_grad()
def golden(case, folder, seed):
    generator = torch.Generator().manual_seed(zlib.crc32(case.name.encode()) + seed)
    cls = getattr(transformers, case.model)
    config = cls.config_class(**case.kwargs)
    model = cls(config).eval()
    randomize(model, generator)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    write_tokenizer(special(case), config, folder / "tokenizer.json")
    model = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    first = config.pad_token_id + 1 if "oberta" in case.model else 0
    names = ("<pad>", "<s>", "</s>") if first else ("[PAD]", "[CLS]", "[SEP]")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), model_max_length=config.max_position_embeddings - first,
        pad_token=names[0], cls_token=names[1], sep_token=names[2], model_input_names=["input_ids", "attention_mask"])
    pipe = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None, device="cpu")
    out = []
    for text in texts(generator):
        encoded = tokenizer(text, return_tensors="pt", truncation=True)
        whole = tokenizer(text, return_tensors="pt")
        logits = model(**encoded).logits[0]
        scores = {one["label"]: one["score"] for one in pipe([text], truncation=True)[0]}
        out.append({"text": text, "logits": logits.tolist(), "cut": whole.input_ids.shape != encoded.input_ids.shape,
                    "probabilities": [scores[config.id2label[n]] for n in range(config.num_labels)]})
    assert sum(one["cut"] for one in out) in (1, 2), [one["cut"] for one in out]
    return {"labels": [config.id2label[n] for n in range(config.num_labels)], "texts": out}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FIXTURES)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = {case.name: golden(case, options.out / case.name, options.seed) for case in CASES}
    path = options.out / "classifiers.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{path.name}: {path.stat().st_size / 1000:.1f} kB")
