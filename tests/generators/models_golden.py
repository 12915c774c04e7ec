"""Golden values for interlingua-models, computed with transformers.

    pip install torch==2.15.0 transformers==5.23.0 safetensors tokenizers
    python tests/generators/models_golden.py SHARED_DIR

Writes, beside the tests:
  fixtures/models/cohere-f32/, cohere-bf16-sharded/   tiny random checkpoints
  fixtures/models/*.golden.safetensors                their states at every hook point, and log-probabilities
  fixtures/models/reference-lm-4l.golden.json         token log-likelihoods of the reference LM (if SHARED_DIR has it)

Sentences of the reference LM are named by row and column of tatoeba4, never stored.
"""
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, CohereConfig, CohereForCausalLM

OUT = Path(__file__).parent.parent / "fixtures" / "models"
LINES = ["the baker said that she was tired", "le boulanger a dit qu'il était fatigué", "der Bäcker sagte, dass er müde sei",
         "de bakker zei dat hij moe was"]


def tokenizer():
    tok = Tokenizer(models.BPE(unk_token="<UNK>"))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<PAD>", "<UNK>", "<BOS_TOKEN>", "<EOS_TOKEN>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tok.train_from_iterator(LINES, trainer)
    return tok


def hooks(model, ids):
    """States at every hook point, under this project's names."""
    states, handles = {}, []

    def keep(name, pick):
        return lambda module, args, out: states.__setitem__(name, pick(args, out)[0].detach().float().contiguous().clone())

    first = lambda args, out: out[0] if isinstance(out, tuple) else out
    handles.append(model.model.embed_tokens.register_forward_hook(keep("embedding", first)))
    for l, layer in enumerate(model.model.layers):
        handles.append(layer.register_forward_hook(keep(f"block.{l}.input", lambda args, out: args[0])))
        handles.append(layer.self_attn.register_forward_hook(keep(f"block.{l}.attention", first)))
        handles.append(layer.mlp.register_forward_hook(keep(f"block.{l}.mlp", first)))
        # transformers reuses the tensor; the output is taken before anything changes it
        handles.append(layer.register_forward_hook(keep(f"block.{l}.output", first)))
    handles.append(model.model.norm.register_forward_hook(keep("final_norm", first)))
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].float()
    for handle in handles:
        handle.remove()
    log_probs = logits.log_softmax(-1)
    states["log_probs"] = log_probs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].contiguous()
    return states


def tiny(name, dtype, shard, **shape):
    torch.manual_seed(len(name))
    tok = tokenizer()
    config = CohereConfig(vocab_size=tok.get_vocab_size() + 3, pad_token_id=0, bos_token_id=2, eos_token_id=3,
                          max_position_embeddings=64, **shape)
    model = CohereForCausalLM(config).to(dtype).eval()
    for p in model.parameters():
        p.data = (p.data.float() * 1.7 + 0.02 * torch.randn_like(p.data.float())).to(dtype)
    folder = OUT / name
    model.save_pretrained(folder, max_shard_size="20KB" if shard else "1GB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    tok.save(str(folder / "tokenizer.json"))
    golden = {}
    for i, line in enumerate(LINES):
        ids = [2] + tok.encode(line).ids
        golden[f"{i}.ids"] = torch.tensor(ids, dtype=torch.int64)
        golden.update({f"{i}.{k}": v for k, v in hooks(model.float(), ids).items()})
    save_file(golden, OUT / f"{name}.golden.safetensors")


def reference(shared):
    folder = shared / "models" / "reference-lm-4l"
    if not folder.is_dir():
        print("skipped: no", folder)
        return
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tok = AutoTokenizer.from_pretrained(folder)
    rows = (shared / "data" / "derived" / "tatoeba4_en_fr_de_nl.tsv").read_text(encoding="utf-8").splitlines()
    columns = rows[0].split("\t")
    out = []
    for k in range(200):
        row, lang = 1 + 61 * k, ["en", "fr", "de", "nl"][k % 4]
        text = rows[row].split("\t")[columns.index(lang)]
        ids = [2] + tok(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            lp = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        lp = lp[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
        out.append({"row": row - 1, "language": lang, "ids": ids, "log_probs": [round(float(x), 6) for x in lp]})
    (OUT / "reference-lm-4l.golden.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    tiny("cohere-f32", torch.float32, False, hidden_size=24, intermediate_size=36, num_hidden_layers=2,
         num_attention_heads=3, num_key_value_heads=1, logit_scale=0.5)
    tiny("cohere-bf16-sharded", torch.bfloat16, True, hidden_size=16, intermediate_size=40, num_hidden_layers=3,
         num_attention_heads=4, num_key_value_heads=2, logit_scale=0.25, rope_parameters={"rope_type": "default", "rope_theta": 5000.0})
    if len(sys.argv) > 1:
        reference(Path(sys.argv[1]))
