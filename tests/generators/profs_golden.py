"""Golden values of ProFS (arXiv 2405.13967), from its formula in numpy's full SVD.

Version: numpy 2.4.6.

    pip install numpy
    python tests/generators/profs_golden.py [--seed N] [--out DIR]

Writes DIR/debias/profs.json; without options the committed file tests/fixtures/debias/profs.json, which stands for the default seed.
The data is made here: pairs around a large mean, that differ in a few directions and a little in all.
"""

import argparse
import json
import pathlib

import numpy as np

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"


def projection(plus, minus, k):
    m = (plus - minus) / 2
    v = np.linalg.svd(plus)[2][0]
    m = m - np.outer(m @ v, v)
    top = np.linalg.svd(m)[2][:k].T
    return np.eye(plus.shape[1]) - top @ top.T


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--out", type=pathlib.Path, default=FIXTURES)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    cases = []
    for pairs, dim, ranks in [(20, 6, [1, 2, 4]), (5, 12, [1, 3])]:
        mean = 4 * rng.normal(size=dim)
        subspace = rng.normal(size=(2, dim))
        plus = mean + rng.normal(size=(pairs, dim))
        minus = plus + rng.normal(size=(pairs, 2)) @ subspace + 0.3 * rng.normal(size=(pairs, dim))
        plus, minus = np.round(plus, 4), np.round(minus, 4)
        cases.append(
            {
                "dim": dim,
                "plus": plus.ravel().tolist(),
                "minus": minus.ravel().tolist(),
                "fits": [{"rank": k, "projection": projection(plus, minus, k).ravel().tolist()} for k in ranks],
            }
        )
    out = options.out / "debias" / "profs.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"cases": cases}) + "\n")


if __name__ == "__main__":
    main()
