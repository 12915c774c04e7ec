"""Golden values of MEXA (arXiv 2410.05873), from its definition in numpy.

Version: numpy 2.4.6.

    pip install numpy
    python tests/generators/mexa_golden.py [--seed N] [--out DIR]

Writes DIR/metrics/mexa.json; without options the committed file tests/fixtures/metrics/mexa.json, which stands for the
default seed. The data is made here. Rows of the first case are copied, so that some cosines tie.
"""

import argparse
import json
import pathlib

import numpy as np

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"


def mexa(a, b):
    """The hits of each row: the diagonal against the rest of its row and of its column."""
    cosines = (a @ b.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    own = np.diag(cosines).copy()
    np.fill_diagonal(cosines, -np.inf)
    return (own > cosines.max(axis=1)) & (own > cosines.max(axis=0))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--out", type=pathlib.Path, default=FIXTURES)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    cases = []
    for rows, dim, noise in [(30, 5, 0.6), (64, 16, 1.5), (40, 3, 0.3)]:
        a = rng.normal(size=(rows, dim))
        b = a + noise * rng.normal(size=(rows, dim))
        # Three decimals, exact in f32 after rounding there, and the exact input of both sides.
        a, b = (np.float32(np.round(x, 3)) for x in (a, b))
        if rows == 30:
            # A row and its translation that are there twice.
            a[1], b[1] = a[0], b[0]
        hits = mexa(a.astype(np.float64), b.astype(np.float64))
        if rows == 30:
            # A tie is a tie whatever the order of summation.
            hits[:2] = False
        cases.append(
            {
                "dim": dim,
                "a": [float(v) for v in a.ravel()],
                "b": [float(v) for v in b.ravel()],
                "hits": [bool(h) for h in hits],
                "value": float(hits.mean()),
            }
        )
    folder = options.out / "metrics"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mexa.json").write_text(json.dumps({"cases": cases}) + "\n")


if __name__ == "__main__":
    main()
