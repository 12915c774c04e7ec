"""Golden values of EigenShift (arXiv 2509.16660), from its formula in numpy's SVD.

Version: numpy 2.4.6.

    pip install numpy
    python tests/generators/weights_golden.py [--seed N] [--out DIR]

Writes DIR/debias/eigenshift.json; without options the committed file tests/fixtures/debias/eigenshift.json, which stands for the
default seed. The data is made here. Of the directions the largest |delta| over the deviation of all states is taken, as
crates/debias/src/methods/eigenshift.rs says why.
"""

import argparse
import json
import pathlib

import numpy as np

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"


def edited(head, states, positive, k, factor):
    u, s, vt = np.linalg.svd(head, full_matrices=False)
    along = states @ vt.T
    delta = np.abs(along[positive].mean(axis=0) - along[~positive].mean(axis=0)) / along.std(axis=0)
    s[np.argsort(-delta)[:k]] *= factor
    return u @ np.diag(s) @ vt


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=41)
    parser.add_argument("--out", type=pathlib.Path, default=FIXTURES)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    dim, words, rows = 7, 30, 24
    head = np.round(rng.normal(size=(words, dim)) * np.linspace(1, 3, dim), 4)
    positive = np.arange(rows) % 3 == 0
    states = np.round(rng.normal(size=(rows, dim)) + np.outer(positive, rng.normal(size=dim)) + 2, 4)
    golden = {
        "dim": dim,
        "head": head.ravel().tolist(),
        "states": states.ravel().tolist(),
        "positive": positive.tolist(),
        "fits": [
            {"rank": k, "factor": f, "head": edited(head, states, positive, k, f).ravel().tolist()}
            for k, f in [(1, 0.1), (2, 0.0), (4, 0.5)]
        ],
    }
    out = options.out / "debias" / "eigenshift.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
