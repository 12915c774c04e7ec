"""The work of `cargo xtask bench`, done with the libraries that people use for it now.

    pip install torch==2.15.0 transformers==5.24.0 concept-erasure==0.2.4 scikit-learn==1.9.1 numpy==2.4.6
    cargo xtask bench --peers --python python3

`bench` starts this script and talks to it: one JSON request per line in, one JSON reply per line out. A request names
an operation, its input files and the file for its result (f64, little-endian); the reply has the seconds of the work
alone, without loading models and data. Models and data stay loaded from request to request.

Language models are run in two ways. `one`: one sentence at a time, as bias-bench does, logits of all tokens through a
log-softmax. `batched`: as well as these libraries can on the same processor: sentences sorted by length, equal ones
together, padded to the longest of a batch, fused attention, inference mode, log-sum-exp instead of log-softmax, and
for masked models the head on the masked positions only; `bench` finds the best batch size by trial.
"""
import json
import sys
import time

import numpy as np
import torch

torch.manual_seed(0)

# Where models and autoencoders run, and the type of the models' weights and states.
DEVICE, DTYPE = torch.device("cpu"), torch.float32


def settle(request):
    """The device and the type from here on."""
    global DEVICE, DTYPE
    DEVICE = torch.device(request["device"])
    DTYPE = {"f32": torch.float32, "bf16": torch.bfloat16}[request["precision"]]
    torch.zeros(1, device=DEVICE)


def tensor(values):
    return torch.tensor(values, device=DEVICE)


def wait():
    """Until the device is done."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize(DEVICE)


def remembered(make):
    """`make` with the last two results kept."""
    known = {}

    def get(*key):
        if key not in known:
            if len(known) == 2:
                known.pop(next(iter(known)))
            known[key] = make(*key)
        return known[key]

    return get


@remembered
def causal(folder):
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPE, attn_implementation="sdpa")
    return model.to(DEVICE).eval()


@remembered
def masked(folder):
    from transformers import AutoModelForMaskedLM
    model = AutoModelForMaskedLM.from_pretrained(folder, dtype=DTYPE, attn_implementation="sdpa")
    return model.to(DEVICE).eval()


@remembered
def sequences(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def matrix(path, rows, dtype):
    values = np.fromfile(path, dtype=np.float32)
    return torch.from_numpy(values.reshape(rows, -1)).to(dtype)


matrices = remembered(matrix)


def batches(texts, size):
    """Indices of texts, the longest first, `size` at a time."""
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    return [order[i:i + size] for i in range(0, len(order), size)]


def padded(texts):
    longest = max(map(len, texts))
    tokens = torch.zeros(len(texts), longest, dtype=torch.long)
    seen = torch.zeros(len(texts), longest, dtype=torch.long)
    for row, text in enumerate(texts):
        tokens[row, :len(text)] = torch.tensor(text)
        seen[row, :len(text)] = 1
    return tokens.to(DEVICE), seen.to(DEVICE)


def score(request):
    """Sum of the log-probabilities of all tokens but the first, for every text of a causal model."""
    model, texts = causal(request["model"]), sequences(request["texts"])
    out = np.zeros(len(texts))
    start = time.perf_counter()
    if request["way"] == "one":
        with torch.no_grad():
            for at, text in enumerate(texts):
                tokens = tensor([text])
                log_probs = torch.log_softmax(model(input_ids=tokens).logits[0, :-1].float(), dim=-1)
                out[at] = log_probs.gather(1, tokens[0, 1:, None]).sum().item()
    else:
        with torch.inference_mode():
            for batch in batches(texts, request["batch"]):
                tokens, seen = padded([texts[i] for i in batch])
                even = bool(seen.all())
                logits = model(input_ids=tokens, attention_mask=None if even else seen, use_cache=False).logits[:, :-1].float()
                at = logits.gather(2, tokens[:, 1:, None])[:, :, 0] - torch.logsumexp(logits, dim=-1)
                out[batch] = (at * seen[:, 1:]).sum(1).cpu().numpy()
    return time.perf_counter() - start, out


def mask(request):
    """Log-probability of every token of a text in turn, masked alone, summed over the text."""
    model, texts = masked(request["model"]), sequences(request["texts"])
    hidden = request["mask"]
    copies = [(i, place) for i, text in enumerate(texts) for place in range(1, len(text) - 1)]
    out = np.zeros(len(texts))
    start = time.perf_counter()
    if request["way"] == "one":
        with torch.no_grad():
            for at, place in copies:
                tokens = tensor([texts[at]])
                true = tokens[0, place].item()
                tokens[0, place] = hidden
                out[at] += torch.log_softmax(model(input_ids=tokens).logits[0, place].float(), dim=-1)[true].item()
    else:
        with torch.inference_mode():
            for batch in batches([texts[i] for i, _ in copies], request["batch"]):
                tokens, seen = padded([texts[copies[c][0]] for c in batch])
                rows, places = tensor(range(len(batch))), tensor([copies[c][1] for c in batch])
                true = tokens[rows, places]
                tokens[rows, places] = hidden
                even = bool(seen.all())
                states = model.bert(input_ids=tokens, attention_mask=None if even else seen).last_hidden_state
                logits = model.cls(states[rows, places]).float()
                at = logits[rows, true] - torch.logsumexp(logits, dim=-1)
                np.add.at(out, [copies[c][0] for c in batch], at.double().cpu().numpy())
    return time.perf_counter() - start, out


def capture(request):
    """Mean state of every text, without its first token, after each of these blocks (0: the embedding)."""
    model, texts = causal(request["model"]).base_model, sequences(request["texts"])
    hooks = request["hooks"]
    out = np.zeros((len(hooks), len(texts), model.config.hidden_size), dtype=np.float32)
    groups = batches(texts, request["batch"]) if request["way"] == "batched" else [[i] for i in range(len(texts))]
    start = time.perf_counter()
    with torch.inference_mode():
        for batch in groups:
            tokens, seen = padded([texts[i] for i in batch])
            even = bool(seen.all())
            states = model(input_ids=tokens, attention_mask=None if even else seen, use_cache=False,
                           output_hidden_states=True).hidden_states
            weights = seen[:, 1:].float() / seen[:, 1:].sum(1, keepdim=True)
            for k, hook in enumerate(hooks):
                out[k, batch] = torch.einsum("bt,btd->bd", weights, states[hook][:, 1:].float()).cpu().numpy()
    return time.perf_counter() - start, out[:, :, :4]


def autoencoder(request):
    """Steps of training, each language with an encoder and a decoder of its own: reconstruction of token states and
    InfoNCE between the sentence means of all languages."""
    width, latent, languages, rows, tokens = (request[k] for k in ("width", "latent", "languages", "rows", "tokens"))
    states = matrices(request["states"], request["in_all"], torch.float32).to(DEVICE)
    encoders = [torch.nn.Linear(width, latent).to(DEVICE) for _ in range(languages)]
    decoders = [torch.nn.Linear(latent, width).to(DEVICE) for _ in range(languages)]
    parameters = [p for half in (*encoders, *decoders) for p in half.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=request["rate"], betas=(0.9, 0.999), weight_decay=1e-4, fused=True)
    pool = states.view(languages, -1, tokens, width)
    mean = pool.mean((1, 2), keepdim=True)
    deviation = (pool - mean).std()
    losses = []
    start = time.perf_counter()
    for step in range(request["steps"]):
        first = step * rows % (pool.shape[1] - rows + 1)
        x = ((pool[:, first:first + rows] - mean) / deviation).view(languages, -1, width)
        z = [encoder(own) for encoder, own in zip(encoders, x)]
        rebuilt = torch.stack([decoder(own) for decoder, own in zip(decoders, z)])
        loss = torch.nn.functional.mse_loss(rebuilt, x)
        z = torch.stack(z).view(languages, rows, tokens, latent).mean(2)
        z = torch.nn.functional.normalize(z, dim=-1)
        own, pairs = torch.arange(rows, device=DEVICE), [(a, b) for a in range(languages) for b in range(a + 1, languages)]
        for a, b in pairs:
            cosines = z[a] @ z[b].T / 0.07
            both = torch.nn.functional.cross_entropy(cosines, own) + torch.nn.functional.cross_entropy(cosines.T, own)
            loss = loss + both / 2 / len(pairs)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimiser.step()
        losses.append(loss.item())
    return time.perf_counter() - start, np.array(losses)


def leace(request):
    """LEACE by concept-erasure; the result is what becomes of the first vectors."""
    from concept_erasure import LeaceFitter
    dtype = getattr(torch, request["dtype"])
    x = matrices(request["x"], request["rows"], dtype)
    label = torch.arange(request["rows"]) % request["classes"]
    start = time.perf_counter()
    z = torch.nn.functional.one_hot(label, request["classes"]).to(dtype)
    fitter = LeaceFitter(x.shape[1], request["classes"], dtype=dtype)
    for at in range(0, len(x), 2000):
        fitter.update(x[at:at + 2000], z[at:at + 2000])
    eraser = fitter.eraser
    out = eraser(x[:16])
    return time.perf_counter() - start, out.double().numpy()


def inlp(request):
    """INLP with scikit-learn's LinearSVC in bias-bench's settings; the result is the accuracy of every round."""
    from sklearn.svm import LinearSVC
    x = matrices(request["x"], request["rows"], torch.float64).numpy()
    label = np.arange(len(x)) % request["classes"]
    out, basis, left = [], np.zeros((0, x.shape[1])), x
    start = time.perf_counter()
    for _ in range(request["rounds"]):
        classifier = LinearSVC(fit_intercept=False, dual=False, random_state=0, max_iter=request["iterations"])
        classifier.fit(left, label)
        out.append(classifier.score(left, label))
        _, values, rows = np.linalg.svd(np.vstack([basis, classifier.coef_]), full_matrices=False)
        basis = rows[values > 1e-10 * values[0]]
        # Less than bias-bench does, which forms a d x d projection and multiplies all vectors with it.
        left = x - (x @ basis.T) @ basis
    return time.perf_counter() - start, np.array(out)


def matmul(request):
    """Best of a few square products: the matrix rate, in floating-point operations per second."""
    size = request["size"]
    a, b = (torch.randn(size, size, device=DEVICE, dtype=DTYPE) for _ in range(2))
    times = []
    for _ in range(request["times"]):
        wait()
        start = time.perf_counter()
        a @ b.T
        wait()
        times.append(time.perf_counter() - start)
    return min(times), np.array([2 * size ** 3 / min(times)])


def versions(_):
    """What is installed; a library that is missing is missed by its own operation alone."""
    from importlib.metadata import PackageNotFoundError, version
    names = {"torch": torch.__version__}
    for name in ("transformers", "scikit-learn", "concept-erasure", "numpy"):
        try:
            names[name] = version(name)
        except PackageNotFoundError:
            names[name] = "missing"
    return names


OPERATIONS = {f.__name__: f for f in (score, mask, capture, autoencoder, leace, inlp, matmul)}


def main():
    for line in sys.stdin:
        request = json.loads(line)
        torch.set_num_threads(request["threads"])
        try:
            if request["op"] == "versions":
                reply = {"versions": versions(request)}
            elif request["op"] == "settle":
                settle(request)
                reply = {}
            else:
                seconds, out = OPERATIONS[request["op"]](request)
                np.asarray(out, dtype="<f8").tofile(request["out"])
                reply = {"seconds": seconds}
        except Exception as error:  # The other side shows it; this one goes on.
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
