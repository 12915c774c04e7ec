"""Golden values of what is fitted on several languages: SAL, IMSAE, LSAR and LIR.

Version: numpy 2.4.6.

    python -m venv /path/outside/the/project && . /path/outside/the/project/bin/activate
    pip install numpy
    python tests/generators/erasers_golden.py [--seed N] [--out DIR]

Writes DIR/debias/erasers.json; without options the committed file
tests/fixtures/debias/erasers.json, which stands for the default seed. The data is made
here; no third-party text or vector is in it. Each value comes from the definition in its
paper, by numpy's full SVD: SAL (arXiv 2203.07893), IMSAE (arXiv 2506.11244, whose formula
is our reading of the abstract), LSAR (arXiv 2401.05792) and LIR (arXiv 2109.04727).
"""

import argparse
import json
import pathlib

import numpy as np

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"


def flat(a):
    return [float(v) for v in np.asarray(a, dtype=np.float64).ravel()]


def make(rng, languages, groups, rows, d):
    """Rows of unequal classes in each language, around a mean and group directions of its own."""
    x, label, language = [], [], []
    shared = rng.normal(size=(groups, d))
    for l in range(languages):
        mean = 2.0 * rng.normal(size=d)
        offsets = shared + 0.7 * rng.normal(size=(groups, d))
        for i in range(rows + 3 * l):
            g = min(i % (groups + 1), groups - 1)
            x.append(mean + offsets[g] + 0.5 * rng.normal(size=d))
            label.append(g)
            language.append(l)
    order = rng.permutation(len(x))
    # Four decimals keep the file small, and are the exact input of both sides.
    x = np.round(np.array(x), 4)[order]
    return x, np.array(label)[order], np.array(language)[order]


def leading(x, label, groups, k):
    """The k leading left singular vectors of the cross-covariance with one-hot labels."""
    u, s, _ = np.linalg.svd(x.T @ np.eye(groups)[label] / len(x), full_matrices=True)
    k = min(k, int((s > 1e-9 * s[0]).sum()))
    return u[:, :k]


def sal(x, label, groups, k):
    u = leading(x, label, groups, k)
    return np.eye(x.shape[1]) - u @ u.T


def imsae(x, label, language, groups, k):
    """The product of the projections, each fitted after those before it."""
    product = np.eye(x.shape[1])
    for l in sorted(set(language)):
        rows = language == l
        u = leading(x[rows] @ product.T, label[rows], groups, k)
        product = (np.eye(x.shape[1]) - u @ u.T) @ product
    return product


def lsar(means, k):
    """The projection that takes the language-specific subspace of the columns of `means` away."""
    d, languages = means.shape
    ones = np.ones(languages)
    common = means @ ones / languages
    u, s, vh = np.linalg.svd(means - np.outer(common, ones), full_matrices=False)
    fit = np.outer(common, ones) + u[:, :k] @ np.diag(s[:k]) @ vh[:k]
    common = np.linalg.pinv(fit, rcond=1e-10).T @ ones
    common /= (common**2).sum()
    specific = np.linalg.svd(fit - np.outer(common, ones))[0][:, :k]
    return np.eye(d) - specific @ specific.T


def lir(x):
    """The projection that takes the first right singular vector of the uncentred rows away."""
    v = np.linalg.svd(x)[2][0]
    return np.eye(x.shape[1]) - np.outer(v, v)


def case(rng, name, languages, groups, rows, d, ranks):
    x, label, language = make(rng, languages, groups, rows, d)
    means = np.stack([x[language == l].mean(axis=0) for l in range(languages)], axis=1)
    return {
        "name": name,
        "rows": len(x),
        "dim": d,
        "groups": groups,
        "languages": languages,
        "x": flat(x),
        "label": label.tolist(),
        "language": language.tolist(),
        "sal": [{"rank": k, "projection": flat(sal(x, label, groups, k))} for k in ranks],
        "imsae": [{"rank": k, "projection": flat(imsae(x, label, language, groups, k))} for k in ranks],
        "lsar": [{"rank": k, "projection": flat(lsar(means, k))} for k in range(1, languages)],
        "lir": [flat(lir(x[language == l])) for l in range(languages)],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=20261128)
    parser.add_argument("--out", type=pathlib.Path, default=FIXTURES)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    whole = {
        "generator": "tests/generators/erasers_golden.py",
        "seed": args.seed,
        "cases": [
            case(rng, "pairs", 2, 2, 30, 8, [1, 2]),
            case(rng, "triples", 4, 3, 24, 16, [1, 2, 3]),
            # More dimensions than rows of a language.
            case(rng, "wide", 3, 2, 7, 20, [1, 2]),
        ],
    }
    out = args.out / "debias" / "erasers.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(whole) + "\n")
    print(f"{out.stat().st_size} bytes")


main()
