"""Golden values of expert units and of steering.

Versions: numpy 2.4.6, scikit-learn 1.9.1.

    python -m venv /path/outside/the/project && . /path/outside/the/project/bin/activate
    pip install numpy scikit-learn
    python tests/generators/units_golden.py [--seed N] [--out DIR]

Writes DIR/debias/units.json; without options the committed file
tests/fixtures/debias/units.json, which stands for the default seed. The data is made here.
Average precision is scikit-learn's `average_precision_score`, medians are numpy's
`percentile(…, 50)`, experts are taken by falling precision, equal ones in their order.
The case "selfcond" has the responses of the published test of apple/ml-selfcond
(selfcond/tests/test_expertise.py at c5e0921), which come from RandomState(1234), and the
average precisions and the mean median that the test there expects.
"""

import argparse
import json
import pathlib

import numpy as np
from sklearn.metrics import average_precision_score

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"

# Numbers of the published test, rounded there.
SELFCOND_AP = [
    [0.722222, 0.555556, 1, 1, 1, 0.633333, 0.916667, 0.7, 0.805556, 0.722222],
    [0.7, 0.666667, 0.722222, 0.411111, 0.722222, 0.833333, 0.7, 0.533333, 0.633333, 0.466667],
]
SELFCOND_MEDIAN = 0.5709945


def flat(a):
    return [float(v) for v in np.asarray(a, dtype=np.float64).ravel()]


def case(name, x, label, units):
    """Rows are sentences, columns units; class 0 is the positive group, class 2 no group."""
    positive = label == 0
    precision = [average_precision_score(positive, x[:, u]) for u in range(x.shape[1])]
    order = sorted(range(x.shape[1]), key=lambda u: -precision[u])
    chosen = order[:units]
    median = lambda rows: [float(np.percentile(x[rows, u], 50)) for u in chosen]
    return {
        "name": name,
        "rows": x.shape[0],
        "dim": x.shape[1],
        "x": flat(x),
        "label": [int(v) for v in label],
        "units": units,
        "precision": precision,
        "chosen": chosen,
        "positives": median(positive),
        "rest": median(~positive),
        "steering": flat(x[label == 1].mean(axis=0) - x[label == 0].mean(axis=0)),
    }


def selfcond():
    state = np.random.RandomState(1234)
    x = np.concatenate([state.rand(10, 6), state.rand(10, 6)]).T
    label = np.array([0, 0, 1, 0, 1, 1])
    found = case("selfcond", x, label, 5)
    assert np.allclose(found["precision"], np.ravel(SELFCOND_AP), atol=5e-7)
    assert abs(np.percentile(x[label == 0], 50, axis=0).mean() - SELFCOND_MEDIAN) < 2e-7
    return found


def planted(rng, rows, dim, units, decimals):
    label = rng.integers(0, 3, size=rows)
    label[:3] = [0, 1, 2]
    x = rng.normal(size=(rows, dim))
    x[label == 0, : dim // 3] += rng.uniform(0.0, 1.5, size=dim // 3)
    # Few decimals make ties.
    return np.round(x, decimals), label


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=20261128)
    parser.add_argument("--out", type=pathlib.Path, default=FIXTURES)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    constant, label = planted(rng, 12, 6, 3, 1)
    constant[:, 4] = 0.5
    whole = {
        "generator": "tests/generators/units_golden.py",
        "seed": args.seed,
        "cases": [
            selfcond(),
            case("distinct", *planted(rng, 40, 24, 6, 4), 6),
            case("ties", *planted(rng, 33, 30, 9, 0), 9),
            case("constant", constant, label, 4),
        ],
    }
    out = args.out / "debias" / "units.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(whole) + "\n")
    print(f"{out.stat().st_size} bytes")


main()
