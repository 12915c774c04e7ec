"""Scoring, generation and opening of a GGUF file beside llama.cpp and transformers.

    pip install torch==2.15.0 transformers==5.24.0 gguf==0.19.0 llama-cpp-python==0.3.36
    python tests/peers/llama.py score MODEL.gguf --program target/debug/interlingua --pairs PAIRS --folder FOLDER
    python tests/peers/llama.py generate MODEL.gguf --program target/debug/interlingua --folder FOLDER
    python tests/peers/llama.py open MODEL.gguf --program target/debug/interlingua --pairs PAIRS

FOLDER is a checkpoint folder of the same weights, for transformers; without it transformers is left out. With --f32 F32.gguf,
llama.cpp also runs the same weights in f32; `python tests/peers/llama.py widen MODEL.gguf F32.gguf` makes that file.
Each side is a process of its own, pinned to the first --threads cores; the sides run in turn, --rounds times. Tables have medians
with the least and the most, and ratios of times round by round. `--only ours,llama-f32` runs some of the sides.

llama.cpp packs as many texts as fit into a batch of --batch tokens (sequences of one cache); `trial` says which size is best. Its
time is of `llama_decode` alone, with logits of every token that has a next one; the softmax over them, which scoring needs too, is
not in it. In transformers it is, and in ours, where reading the weights is too.
"""
import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

TOKENS_OF_PAIRS = ("sent_more", "sent_less")


class Llama:
    """A model in llama.cpp, over the C functions that llama-cpp-python declares."""

    def __init__(self, path, threads, batch=512, sequences=64, exact=False, context=None, separate=False):
        import llama_cpp

        self.c = c = llama_cpp
        self.quiet = c.llama_log_callback(lambda level, text, data: None)
        c.llama_log_set(self.quiet, None)
        c.llama_backend_init()
        self.model = c.llama_model_load_from_file(os.fsencode(path), c.llama_model_default_params())
        assert self.model, f"llama.cpp does not load {path}"
        self.vocab = c.llama_model_get_vocab(self.model)
        self.size = c.llama_vocab_n_tokens(self.vocab)
        settings = c.llama_context_default_params()
        settings.n_batch = settings.n_ubatch = batch
        settings.n_ctx = context or max(batch, 512)
        settings.n_seq_max = sequences
        settings.n_threads = settings.n_threads_batch = threads
        settings.kv_unified = not separate
        if exact:
            # The cache and the products of attention in f32 too.
            settings.type_k = settings.type_v = 0
            settings.flash_attn_type = 0
        self.context = c.llama_init_from_model(self.model, settings)
        assert self.context, "llama.cpp makes no context"
        self.batch = c.llama_batch_init(batch, 0, 1)
        start = c.llama_vocab_bos(self.vocab)
        self.start = start if start >= 0 else c.llama_vocab_eos(self.vocab)

    def ids(self, text):
        """Tokens of a text, behind the start token."""
        data = text.encode()
        out = (self.c.llama_token * (len(data) + 8))()
        count = self.c.llama_tokenize(self.vocab, data, len(data), out, len(out), False, False)
        return [self.start, *out[:count]]

    def decode(self, rows):
        """Reads `rows` of (token, place, sequence, whether its logits are wanted)."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (token, place, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, place, 1, wanted
            batch.seq_id[i][0] = sequence
        code = self.c.llama_decode(self.context, batch)
        assert code == 0, f"llama_decode: {code}"
        self.c.llama_synchronize(self.context)

    def logits(self, count):
        """The wanted logits of the last batch, `[count, vocabulary]`: a view."""
        return np.ctypeslib.as_array(self.c.llama_get_logits(self.context), shape=(count, self.size))

    def clear(self):
        self.c.llama_memory_clear(self.c.llama_get_memory(self.context), True)

    def all_logits(self, ids):
        self.clear()
        self.decode([(token, place, 0, True) for place, token in enumerate(ids)])
        return self.logits(len(ids))

    def score(self, texts, limit, sequences, check=False):
        """Seconds in `llama_decode`; with `check` also the log-probability of every text."""
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        packs, room = [], 0
        for i in order:
            need = len(texts[i]) - 1
            if need > room or len(packs[-1]) == sequences:
                packs.append([])
                room = limit
            packs[-1].append(i)
            room -= need
        seconds, out = 0.0, np.zeros(len(texts))
        for pack in packs:
            rows = [(token, place, s, True) for s, i in enumerate(pack) for place, token in enumerate(texts[i][:-1])]
            self.clear()
            begin = time.perf_counter()
            self.decode(rows)
            seconds += time.perf_counter() - begin
            if check:
                at, logits = 0, self.logits(len(rows))
                for i in pack:
                    for target in texts[i][1:]:
                        row = logits[at].astype(np.float64)
                        top = row.max()
                        out[i] += row[target] - top - np.log(np.exp(row - top).sum())
                        at += 1
        return seconds, out

    def write(self, prompts, new):
        """Greedy continuations of token lists, side by side, until an end token; and the seconds."""
        out, ends = [[] for _ in prompts], self.c.llama_vocab_is_eog
        begin = time.perf_counter()
        self.clear()
        rows = [(token, place, s, place + 1 == len(prompt)) for s, prompt in enumerate(prompts)
                for place, token in enumerate(prompt)]
        going = list(range(len(prompts)))
        for step in range(new):
            self.decode(rows)
            best = self.logits(len(going)).argmax(1).tolist()
            rows, going_on = [], []
            for s, token in zip(going, best):
                out[s].append(token)
                if not ends(self.vocab, token):
                    rows.append((token, len(prompts[s]) + step, s, True))
                    going_on.append(s)
            going = going_on
            if not going:
                break
        return out, time.perf_counter() - begin

    def adapter(self, path):
        """Puts a GGUF LoRA adapter over the model."""
        c = self.c
        loaded = c.llama_adapter_lora_init(self.model, os.fsencode(path))
        assert loaded, f"llama.cpp does not load {path}"
        import ctypes
        all_of = (c.llama_adapter_lora_p_ctypes * 1)(loaded)
        code = c.llama_set_adapters_lora(self.context, all_of, 1, (ctypes.c_float * 1)(1.0))
        assert code == 0, f"llama_set_adapters_lora: {code}"

    def steer(self, path):
        """Adds the directions of a control vector, as llama.cpp's own programs read them from the file."""
        import ctypes
        import gguf

        width, blocks = self.c.llama_model_n_embd(self.model), self.c.llama_model_n_layer(self.model)
        data = np.zeros((blocks, width), dtype=np.float32)
        for tensor in gguf.GGUFReader(path).tensors:
            # The first row is that of block 1.
            data[int(tensor.name.removeprefix("direction.")) - 1] = tensor.data
        code = self.c.llama_set_adapter_cvec(self.context, data.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), data.size, width,
                                             1, blocks)
        assert code == 0, f"llama_set_adapter_cvec: {code}"


def widen(source, out):
    """Writes a GGUF file with the same settings and every tensor dequantised to f32."""
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(out, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, np.ascontiguousarray(values.reshape(tuple(reversed(tensor.shape.tolist())))))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def peak():
    """The most memory that this process had, in bytes."""
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


# The other sides, each in a process of its own: the request is an argument, the reply the last line.


def side_llama(request):
    texts = request["texts"]
    work, batch, many = request["work"], request["batch"], request.get("sequences", 64)
    if work == "generate":
        many = len(texts)
        batch = max(512, many)
    made = Llama(request["model"], request["threads"], batch, many, context=4096 if work == "generate" else None,
                 separate=request.get("separate", False))
    ids = [made.ids(text) for text in texts]
    reply = {"system": made.c.llama_print_system_info().decode()}
    if work == "generate":
        made.write(ids[:1], 4)
        out, seconds = made.write(ids, request["new"])
        reply |= {"written": out, "tokens": sum(map(len, out)), "seconds": seconds}
    else:
        if work == "score":
            made.score(ids[:2], batch, many)
        seconds, found = made.score(ids, batch, many, check=work == "open" or request.get("check", False))
        reply |= {"scores": found.tolist(), "tokens": sum(len(t) - 1 for t in ids), "seconds": seconds}
    return reply


def side_transformers(request):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(request["threads"])
    model = AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.float32, attn_implementation="sdpa").eval()
    ids, pad = request["ids"], 0
    if request["work"] == "generate":
        longest = max(map(len, ids))
        inputs = {"input_ids": torch.tensor([[pad] * (longest - len(row)) + row for row in ids]),
                  "attention_mask": torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids])}
        options = {"do_sample": False, "pad_token_id": pad}
        with torch.inference_mode():
            model.generate(**inputs, **options, max_new_tokens=2)
            begin = time.perf_counter()
            out = model.generate(**inputs, **options, max_new_tokens=request["new"])
            seconds = time.perf_counter() - begin
        ends = model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        rows = [row[:next((i + 1 for i, t in enumerate(row) if t in ends), len(row))]
                for row in out[:, longest:].tolist()]
        return {"written": rows, "tokens": sum(map(len, rows)), "seconds": seconds}
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    size = request["rows"]
    scores = np.zeros(len(ids))
    with torch.inference_mode():
        model(torch.tensor([ids[0]]))
        begin = time.perf_counter()
        for at in range(0, len(order), size):
            batch = order[at:at + size]
            longest = len(ids[batch[0]])
            tokens = torch.tensor([ids[i] + [pad] * (longest - len(ids[i])) for i in batch])
            seen = torch.tensor([[1] * len(ids[i]) + [0] * (longest - len(ids[i])) for i in batch])
            # The last token is only a target.
            logits = model(tokens[:, :-1], attention_mask=None if seen.all() else seen[:, :-1], use_cache=False).logits
            found = logits.gather(2, tokens[:, 1:, None])[:, :, 0] - torch.logsumexp(logits, dim=-1)
            scores[batch] = (found * seen[:, 1:]).sum(1).numpy()
        seconds = time.perf_counter() - begin
    return {"scores": scores.tolist(), "tokens": sum(len(t) - 1 for t in ids), "seconds": seconds}


def pinned(command, threads):
    """Runs a command on the first cores; its output and the seconds of the whole process."""
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    begin = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
                          preexec_fn=lambda: os.sched_setaffinity(0, range(threads)))
    whole = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stderr[-2000:]}")
    return done.stdout, whole


def other(side, request):
    python = request.pop("python", sys.executable)
    out, whole = pinned([python, __file__, "side", side, json.dumps(request)], request["threads"])
    return json.loads(out.splitlines()[-1]) | {"whole": whole}


def ours(args, threads, texts):
    """One run of the program."""
    if args.work == "generate":
        command = [args.program, "generate", args.in_ours or args.model, "--json", "--tokens", str(args.new), "--batch", str(len(texts)),
                   "--device", "cpu"]
        for text in texts:
            command += ["--prompt", text]
        out, whole = pinned([*command], threads)
        found = json.loads(out)
        rows = [row["unedited"]["tokens"] for row in found["texts"]]
        return {"written": rows, "tokens": sum(map(len, rows)), "seconds": found["seconds"], "whole": whole}
    command = [args.program, "model", "score", args.model, "--pairs", args.pairs, "--limit", str(len(texts) // 2),
               "--device", "cpu", "--json"]
    if args.residency:
        command += ["--residency", args.residency]
    out, whole = pinned(command, threads)
    found = json.loads(out)
    cost = found["cost"]
    scores = [pair[side] for pair in found["pairs"] for side in ("more", "less")]
    # Of each text, the start token is only read.
    return {"scores": scores, "tokens": cost["tokens"] - len(texts), "seconds": cost["seconds"], "whole": whole,
            "peak": cost["peak_memory_bytes"]}


def sentences(path, limit):
    with open(path, encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))[:limit]
    return [row[side] for row in rows for side in TOKENS_OF_PAIRS]


def spread(values, digits):
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def compare(args):
    if args.work == "generate":
        prompts = Path(__file__).with_name("prompts.txt").read_text(encoding="utf-8").splitlines()
        texts = prompts[:args.prompts]
    else:
        texts = sentences(args.pairs, 1 if args.work == "open" else args.limit)
    threads = args.threads
    base = {"work": args.work, "threads": threads, "texts": texts, "batch": args.batch, "new": args.new,
            "sequences": args.sequences, "separate": args.separate, "check": args.check}
    sides = {"ours": lambda: ours(args, threads, texts),
             "llama": lambda: other("llama", base | {"model": args.model, "python": args.llama_python})}
    if args.f32:
        sides["llama-f32"] = lambda: other("llama", base | {"model": args.f32, "python": args.llama_python})
    if args.folder and args.work != "open":
        # The ids are those of llama.cpp, so that all sides have the same.
        out, _ = pinned([args.llama_python, __file__, "ids", args.model, json.dumps(texts)], threads)
        request = base | {"model": args.folder, "rows": args.rows, "ids": json.loads(out.splitlines()[-1])}
        sides["transformers"] = lambda: other("transformers", request)
    if args.only:
        sides = {name: run for name, run in sides.items() if name in args.only.split(",")}
    runs = {name: [] for name in sides}
    for _ in range(args.rounds):
        for name, run in sides.items():
            runs[name].append(run())
    report(args, runs)
    if args.out:
        with open(args.out, "a", encoding="utf-8") as file:
            file.write(json.dumps({"settings": {k: str(v) for k, v in vars(args).items()}, "runs": runs}) + "\n")


def report(args, runs):
    clock = "whole" if args.work == "open" else "seconds"
    for name, found in runs.items():
        if "system" in found[0]:
            print(f"{name}: {found[0]['system']}")
    print(f"{Path(args.model).name}, {args.work}, {args.threads} thread(s), {args.rounds} round(s)\n")
    print("| side | tokens | seconds | tokens per second | peak memory, MiB | its time over ours |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, found in runs.items():
        rates = [run["tokens"] / run[clock] for run in found]
        peaks = [run["peak"] / 2**20 for run in found if "peak" in run]
        over = "–"
        if "ours" in runs and name != "ours":
            # Generated texts may differ in length: time a token.
            over = spread([(a[clock] / a["tokens"]) / (b[clock] / b["tokens"]) for a, b in zip(found, runs["ours"])], 2)
        memory = f"{statistics.median(peaks):.0f}" if peaks else "–"
        print(f"| {name} | {found[0]['tokens']} | {spread([run[clock] for run in found], 2)} | {spread(rates, 1)} | {memory} | {over} |")
    first = runs.get("ours", next(iter(runs.values())))[0]
    for name, found in runs.items():
        if found[0] is first:
            continue
        if "written" in first:
            same = sum(a == b for a, b in zip(first["written"], found[0]["written"]))
            print(f"{name}: {same} of {len(first['written'])} texts are equal")
        elif any(found[0]["scores"]) and any(first["scores"]):
            apart = np.abs(np.subtract(first["scores"], found[0]["scores"]))
            gaps = [np.diff(np.reshape(run["scores"], (-1, 2)), axis=1) for run in (first, found[0])]
            print(f"{name}: sentences' log-likelihoods are apart by {apart.mean():.2e} nats on average, {apart.max():.2e} at most; "
                  f"{int((np.sign(gaps[0]) != np.sign(gaps[1])).sum())} of {len(gaps[0])} pairs are decided otherwise")


def main():
    if sys.argv[1:2] == ["side"]:
        run = {"llama": side_llama, "transformers": side_transformers}[sys.argv[2]]
        print(json.dumps(run(json.loads(sys.argv[3])) | {"peak": peak()}))
        return
    if sys.argv[1:2] == ["ids"]:
        made = Llama(sys.argv[2], 1)
        print(json.dumps([made.ids(text) for text in json.loads(sys.argv[3])]))
        return
    if sys.argv[1:2] == ["widen"]:
        widen(*sys.argv[2:4])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=["score", "generate", "open", "trial"])
    parser.add_argument("model")
    parser.add_argument("--program")
    parser.add_argument("--pairs", help="the CSV file of CrowS-Pairs")
    parser.add_argument("--folder", help="the checkpoint folder for transformers")
    parser.add_argument("--f32", help="the same weights as a GGUF file in f32")
    parser.add_argument("--limit", type=int, default=100, help="pairs")
    parser.add_argument("--prompts", type=int, default=1)
    parser.add_argument("--new", type=int, default=128, help="tokens after each prompt")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=512, help="tokens in a batch of llama.cpp")
    parser.add_argument("--sequences", type=int, default=64, help="texts in a batch of llama.cpp, at most")
    parser.add_argument("--separate", action="store_true", help="a cache for each text of llama.cpp")
    parser.add_argument("--rows", type=int, default=8, help="texts in a batch of transformers")
    parser.add_argument("--check", action="store_true", help="also compare the log-likelihoods of llama.cpp, which takes time")
    parser.add_argument("--in-ours", help="what our side generates from, if it is not MODEL")
    parser.add_argument("--residency")
    parser.add_argument("--only")
    parser.add_argument("--out", help="append all runs to this file, as JSON lines")
    parser.add_argument("--llama-python", default=sys.executable, help="the Python that has llama-cpp-python")
    args = parser.parse_args()
    if args.work == "trial":
        texts = sentences(args.pairs, args.limit)
        for separate, many in ((False, 64), (False, 16), (True, 16), (True, 4), (False, 1)):
            for batch in (64, 128, 256, 512):
                request = {"work": "score", "threads": args.threads, "texts": texts, "batch": batch, "sequences": many,
                           "separate": separate, "model": args.model, "python": args.llama_python}
                try:
                    found = other("llama", request)
                except SystemExit as error:
                    print(f"{batch} tokens, {many} texts, separate {separate}: {str(error).strip().splitlines()[-1]}")
                    continue
                print(f"{batch} tokens, {many} texts, separate {separate}: {found['tokens'] / found['seconds']:.1f} tokens/s", flush=True)
        return
    compare(args)


if __name__ == "__main__":
    main()
