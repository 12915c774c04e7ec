"""multilingual-e5-small as a GGUF file of 8 bits, made of its folder: nobody publishes one where this project reads.

    pip install numpy==2.4.6 safetensors==0.8.0 gguf==0.19.0 tokenizers==0.23.3 sentencepiece protobuf
    python tests/generators/e5_gguf.py FOLDER OUT.gguf [TSV XTASK]

Settings and names are those of llama.cpp's converter. The folder's tokenizer.json composes characters by NFKC; the file gets the
table `nmt_nfkc` of SentencePiece, which is the original's. With a table of sentences and the built `xtask`, prints how far mean
states of both are apart, and how many of 100 sentences a language have other token ids.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import sentencepiece
from gguf import GGMLQuantizationType as Q
from safetensors.numpy import load_file
from sentencepiece import sentencepiece_model_pb2 as proto

LANGUAGES = ["en", "fr", "de", "nl"]


def characters():
    """The table of characters that XLM-R's SentencePiece model has: any model that is trained with the rule gets it."""
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "text.txt")
        text.write_text("a b c d e f g h\n" * 50)
        sentencepiece.SentencePieceTrainer.train(input=str(text), model_prefix=f"{folder}/m", vocab_size=20,
                                                 hard_vocab_limit=False, normalization_rule_name="nmt_nfkc", minloglevel=2)
        model = proto.ModelProto()
        model.ParseFromString(Path(folder, "m.model").read_bytes())
        return model.normalizer_spec.precompiled_charsmap


def write(folder, out):
    config = json.loads((folder / "config.json").read_text())
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    writer = gguf.GGUFWriter(out, "bert")
    writer.add_file_type(int(gguf.LlamaFileType.MOSTLY_Q8_0))
    writer.add_name("multilingual-e5-small")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([piece for piece, _ in vocabulary])
    writer.add_token_scores([score for _, score in vocabulary])
    writer.add_token_types([3, 3, 3, 2] + [1] * (len(vocabulary) - 4))
    for kind, token in dict(bos=0, pad=1, eos=2, unk=3, sep=2).items():
        getattr(writer, f"add_{kind}_token_id")(token)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
    writer.add_add_space_prefix(True)
    writer.add_remove_extra_whitespaces(True)
    writer.add_precompiled_charsmap(characters())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, config["num_hidden_layers"])
    for name, tensor in load_file(folder / "model.safetensors").items():
        if name.startswith("pooler") or name.endswith("position_ids"):
            continue
        stem, end = name.rsplit(".", 1)
        to = f"{names.get_name(stem)}.{end}"
        tensor = tensor.astype(np.float32)
        if tensor.ndim == 1 or "position" in to or "token_types" in to:
            writer.add_tensor(to, tensor)
        else:
            writer.add_tensor(to, gguf.quants.quantize(tensor, Q.Q8_0), raw_dtype=Q.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def compare(folder, out, table, xtask):
    lines = Path(table).read_text("utf-8").split("\n")
    columns, lines = lines[0].split("\t"), [line.split("\t") for line in lines[1:] if line]
    rows = [7 + 130 * k for k in range(100)]
    for language in LANGUAGES:
        with tempfile.TemporaryDirectory() as temporary:
            texts = Path(temporary, "texts.txt")
            texts.write_text("".join(lines[row][columns.index(language)] + "\n" for row in rows), "utf-8")
            states = []
            for model in (folder, out):
                to = Path(temporary, f"{len(states)}.safetensors")
                subprocess.run([xtask, "model", "capture", model, "--text", texts, "--hooks", "final_norm", "--out", to],
                               check=True, capture_output=True)
                states.append(load_file(to))
        other, cosines = 0, []
        spans = [list(zip(s["offsets"].tolist(), s["offsets"].tolist()[1:])) for s in states]
        for (a, b), (c, d) in zip(*spans):
            if states[0]["token_ids"][a:b].tolist() != states[1]["token_ids"][c:d].tolist():
                other += 1
                continue
            x, y = states[0]["states.final_norm"][a:b].mean(0), states[1]["states.final_norm"][c:d].mean(0)
            cosines.append(float(x @ y / np.linalg.norm(x) / np.linalg.norm(y)))
        print(f"| {language} | {len(rows)} | {other} | {min(cosines):.5f} |", flush=True)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
    if len(sys.argv) > 3:
        compare(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
