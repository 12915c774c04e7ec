"""Golden values of methods over the units of several hook points, and of steering between languages.

Versions: numpy 2.4.6, scikit-learn 1.9.1.

    python -m venv /path/outside/the/project && . /path/outside/the/project/bin/activate
    pip install numpy scikit-learn
    python tests/generators/neurons_golden.py [--seed N] [--out DIR]

Writes DIR/debias/neurons.json; without options the committed file tests/fixtures/debias/neurons.json, which stands for
the default seed. The data is made here. Average precision and the area under the curve are scikit-learn's
`average_precision_score` and `roc_auc_score`, medians are numpy's `percentile(…, 50)`; AurA, Damp, LAPE, Linear-AcT and
the vectors are written out from the formulas of the papers. Of equal scores the first unit in the order of hook points and
units comes first, at both ends. The case "selfcond" has the responses of the published test of apple/ml-selfcond
(selfcond/tests/test_expertise.py at c5e0921) at two hook points, as there.
"""

import argparse
import json
import pathlib

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

# Scores that are equal to so many digits are equal.
DIGITS = 12
FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"


def flat(a):
    return [float(v) for v in np.asarray(a, dtype=np.float64).ravel()]


def by_site(sites, chosen, value):
    """Units of each hook point in the order in which they were chosen, each with its value."""
    return [
        [[unit, float(value(site, unit))] for at, unit in chosen if at == site] for site in range(sites)
    ]


def experts(xs, positive, count):
    """The `count` first units over all hook points: top, bottom, and half of either."""
    exact = {
        (site, unit): average_precision_score(positive, x[:, unit])
        for site, x in enumerate(xs)
        for unit in range(x.shape[1])
    }
    ap = {unit: round(value, DIGITS) for unit, value in exact.items()}
    down = sorted(ap, key=lambda u: (-ap[u], u))
    up = sorted(ap, key=lambda u: (ap[u], u))
    top = (count + 1) // 2
    both = down[:top]
    both += [u for u in up if u not in both][: count - top]
    median = lambda site, unit: np.percentile(xs[site][positive, unit], 50)
    named = {"top": down[:count], "bottom": up[:count], "both": both}
    return {
        "precision": [[exact[(site, unit)] for unit in range(x.shape[1])] for site, x in enumerate(xs)],
        "experts": {name: by_site(len(xs), chosen, median) for name, chosen in named.items()},
    }


def areas(xs, positive, count):
    exact = {
        (site, unit): roc_auc_score(positive, x[:, unit])
        for site, x in enumerate(xs)
        for unit in range(x.shape[1])
    }
    area = {unit: round(value, DIGITS) for unit, value in exact.items()}
    factor = lambda a: 1.0 if a <= 0.5 else 1 - 2 * (a - 0.5)
    order = sorted(area)
    descending = sorted(area.values(), reverse=True)
    above = [u for u in order if area[u] > descending[count]] if count < len(order) else order
    return {
        "area": [[exact[(site, unit)] for unit in range(x.shape[1])] for site, x in enumerate(xs)],
        "aura": [[factor(exact[(site, unit)]) for unit in range(x.shape[1])] for site, x in enumerate(xs)],
        "damp": [[unit for at, unit in above if at == site] for site in range(len(xs))],
    }


def lape(xs, label, count):
    """Places of the units of each class that are switched off, by hook point."""
    classes = sorted(set(label.tolist()))
    probs = np.concatenate(
        [np.stack([x[label == c].mean(axis=0) for c in classes], axis=-1) for x in xs]
    )
    where = [(site, unit) for site, x in enumerate(xs) for unit in range(x.shape[1])]
    with np.errstate(invalid="ignore", divide="ignore"):
        normed = np.nan_to_num(probs / probs.sum(axis=-1, keepdims=True))
        logs = np.where(normed > 0, np.log(normed), 0)
    entropy = np.round(-(normed * logs).sum(axis=-1), DIGITS)
    values = np.sort(probs.ravel())
    bar = values[round(len(values) * 0.75) - 1]
    entropy[(probs > bar).sum(axis=-1) == 0] = np.inf
    chosen = [u for u in np.argsort(entropy, kind="stable")[:count] if np.isfinite(entropy[u])]
    of = lambda c: [where[u] for u in chosen if probs[u, c] > bar]
    return [
        [sorted(unit for at, unit in of(c) if at == site) for site in range(len(xs))]
        for c in range(len(classes))
    ]


def transport(x, label, kind):
    a, b = x[label == 0], x[label == 1]
    n = min(len(a), len(b))
    # Evenly over the order.
    a, b = (np.sort(v[[i * len(v) // n for i in range(n)]], axis=0) for v in (a, b))
    (ma, mb), (sa, sb) = (a.mean(axis=0), b.mean(axis=0)), (a.std(axis=0, ddof=1), b.std(axis=0, ddof=1))
    slope = {
        "linear": ((a - ma) * (b - mb)).sum(axis=0) / np.maximum(((a - ma) ** 2).sum(axis=0), 1e-300),
        "gaussian": sb / np.maximum(sa, 1e-300),
        "mean": np.ones_like(ma),
    }[kind]
    kept = (sa > 1e-4) & (sb > 1e-4)
    slope, bias = np.where(kept, slope, 1.0), np.where(kept, mb - slope * ma, 0.0)
    return flat(x * slope + bias)


def case(name, xs, label, count):
    """Rows are sentences, columns units; class 0 is the positive one."""
    positive = label == 0
    shares = [np.clip(np.round(np.abs(x) / (1 + np.abs(x)), 2), 0, 1) for x in xs]
    means = [[x[label == c].mean(axis=0) for c in sorted(set(label.tolist()))] for x in xs]
    return {
        "name": name,
        "rows": len(label),
        "dims": [x.shape[1] for x in xs],
        "x": [flat(x) for x in xs],
        "label": [int(v) for v in label],
        "units": count,
        **experts(xs, positive, count),
        **areas(xs, positive, count),
        "shares": [flat(s) for s in shares],
        "lape": lape(shares, label, count),
        "transport": {k: [transport(x, label, k) for x in xs] for k in ("linear", "gaussian", "mean")},
        "shared": [flat(np.mean(m, axis=0) - m[0]) for m in means],
        "toward": [flat(m[1] - m[0]) for m in means],
    }


def selfcond():
    state = np.random.RandomState(1234)
    xs = [state.rand(10, 6).T, state.rand(10, 6).T]
    return case("selfcond", xs, np.array([0, 0, 1, 0, 1, 1]), 5)


def planted(rng, rows, dims, decimals, classes=3):
    label = np.arange(rows) % classes
    xs = []
    for site, dim in enumerate(dims):
        x = rng.normal(size=(rows, dim))
        x[label == 0, : dim // 3] += rng.uniform(0.0, 1.5, size=dim // 3)
        x[label == 1, -2:] += 1.0 + site
        # Few decimals make ties.
        xs.append(np.round(x, decimals))
    return xs, label


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=20261128)
    parser.add_argument("--out", type=pathlib.Path, default=FIXTURES)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    constant, label = planted(rng, 14, [6, 4], 1)
    constant[0][:, 4] = 0.5
    whole = {
        "generator": "tests/generators/neurons_golden.py",
        "seed": args.seed,
        "cases": [
            selfcond(),
            case("distinct", *planted(rng, 42, [12, 5, 8], 4), 7),
            case("ties", *planted(rng, 33, [14, 9], 0), 9),
            case("constant", constant, label, 4),
        ],
    }
    out = args.out / "debias" / "neurons.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(whole) + "\n")
    print(f"{out.stat().st_size} bytes")


main()
