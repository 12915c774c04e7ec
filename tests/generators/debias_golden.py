"""Golden values of the debiasers, from their reference implementations.

    python -m venv /path/outside/the/project && . /path/outside/the/project/bin/activate
    pip install numpy scipy scikit-learn torch concept-erasure
    python tests/generators/debias_golden.py

Writes tests/fixtures/debias/golden.json. The data is made here, from a fixed seed;
no third-party text or vector is in it. References: scikit-learn's LinearSVC for the
classifiers of INLP, scipy's orth for its basis, numpy's SVD for SentDebias, the
package concept-erasure for LEACE, the definition over all pairs for DensRay.
"""

import json
import pathlib

import numpy as np
import scipy.linalg
import torch
from concept_erasure import LeaceFitter
from sklearn.svm import LinearSVC

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "debias" / "golden.json"


def flat(a):
    return [float(v) for v in np.asarray(a, dtype=np.float64).ravel()]


def make(rng, name, classes, sets, d, skew):
    """Counterfactual sets of one row per class, plus `skew` rows of class 0 alone."""
    k = len(classes)
    label = [c for _ in range(sets) for c in range(k)] + [0] * skew
    tuples = [s for s in range(sets) for _ in range(k)] + [None] * skew
    topic = rng.normal(size=(sets, d)) @ rng.normal(size=(d, d))
    offsets = 0.8 * rng.normal(size=(k, d))
    rows = [topic[s] + offsets[c] + 0.3 * rng.normal(size=d) for s in range(sets) for c in range(k)]
    rows += [rng.normal(size=d) + offsets[0] for _ in range(skew)]
    # Four decimals keep the file small, and are the exact input of both sides.
    x = np.round(np.array(rows), 4)
    return {"name": name, "classes": classes, "x": x, "label": label, "tuple": tuples}


def sentdebias(x, tuples, k):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    stacked = []
    for s in sorted({t for t in tuples if t is not None}):
        rows = unit[[i for i, t in enumerate(tuples) if t == s]]
        stacked.append(rows - rows.mean(axis=0))
    _, s, vt = np.linalg.svd(np.concatenate(stacked), full_matrices=False)
    return {"vectors": flat(vt[:k]), "explained": flat(s[:k] ** 2 / np.sum(s**2)), "rank": k}


def inlp(x, label, rounds):
    rows, projection, first = [], np.eye(x.shape[1]), None
    for _ in range(rounds):
        svm = LinearSVC(fit_intercept=False, dual=False, tol=1e-14, max_iter=1_000_000, random_state=0)
        svm.fit(x @ projection, label)
        first = svm.coef_ if first is None else first
        rows.append(svm.coef_)
        basis = scipy.linalg.orth(np.concatenate(rows).T)
        projection = np.eye(x.shape[1]) - basis @ basis.T
    return {"rounds": rounds, "first_weights": flat(first), "projection": flat(projection)}


def leace(x, label, k, **options):
    z = torch.eye(k, dtype=torch.float64)[torch.tensor(label)]
    fitter = LeaceFitter.fit(torch.tensor(x, dtype=torch.float64), z, **options)
    eraser = fitter.eraser
    bias = eraser.bias
    return {
        "orthogonal": options.get("method") == "orth",
        "affine": bias is not None,
        "shrinkage": options.get("shrinkage", True),
        "projection": flat(eraser.P.numpy()),
        # What erasing adds to P·x: the eraser maps x to P·x + (I − P)·bias.
        "constant": flat(np.zeros(x.shape[1]) if bias is None else (bias - eraser.P @ bias).numpy()),
    }


def densray(x, label, groups):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    rows = [i for i, c in enumerate(label) if c in groups]
    d = x.shape[1]
    sums, counts = {True: np.zeros((d, d)), False: np.zeros((d, d))}, {True: 0, False: 0}
    for i in rows:
        for j in rows:
            same = label[i] == label[j]
            delta = unit[i] - unit[j]
            sums[same] += np.outer(delta, delta)
            counts[same] += 1
    a = sums[False] / counts[False] - sums[True] / counts[True]
    values, vectors = np.linalg.eigh(a)
    return {"vector": flat(vectors[:, -1]), "eigenvalue": float(values[-1])}


def main():
    rng = np.random.default_rng(20261120)
    cases = [
        make(rng, "pairs", ["male", "female"], 30, 8, 12),
        make(rng, "triples", ["first", "second", "third"], 24, 7, 9),
        make(rng, "wide", ["male", "female"], 5, 16, 3),
    ]
    out = []
    for case in cases:
        x, label, k = case["x"], case["label"], len(case["classes"])
        wide = x.shape[1] > x.shape[0]
        leaces = [
            leace(x, label, k),
            leace(x, label, k, shrinkage=False),
            leace(x, label, k, affine=False),
            leace(x, label, k, method="orth"),
        ]
        out.append(
            {
                "name": case["name"],
                "rows": x.shape[0],
                "dim": x.shape[1],
                "classes": case["classes"],
                "x": flat(x),
                "label": label,
                "tuple": case["tuple"],
                "sentdebias": sentdebias(x, case["tuple"], 2),
                "inlp": inlp(x, label, 2),
                # Without shrinkage a singular covariance makes the reference depend
                # on rounding; that variant is compared on full-rank data only.
                "leace": [l for l in leaces if l["shrinkage"] or not wide],
                "densray": densray(x, label, list(range(k))),
            }
        )
    OUT.write_text(json.dumps({"generator": "tests/generators/debias_golden.py", "cases": out}) + "\n")
    print(f"{OUT.stat().st_size} bytes")


main()
