"""Golden values of what a model knows in two languages, and of preferences under two prompts.

    pip install numpy scipy
    python tests/generators/knowledge_golden.py [--seed N] [--out DIR]

Writes DIR/metrics/knowledge.json; DIR is tests/fixtures unless given. RankC is written here from the formula of arXiv 2310.10378 with
NumPy's softmax and sets; log-odds are SciPy's `logit` of its `softmax`; correlations over occupations are `scipy.stats.pearsonr` and
`spearmanr`, ties included; tr+ and tr- are counted by NumPy.
"""

import argparse
import json
import pathlib

import numpy as np
from scipy.special import logit, softmax
from scipy.stats import pearsonr, spearmanr


def rank_c(a, b):
    n = len(a)
    # A stable order, so that of equal scores the first stands first.
    order_a, order_b = (np.argsort(-np.asarray(x), kind="stable") for x in (a, b))
    weights = softmax(np.arange(n, 0, -1))
    return float(sum(w * len(set(order_a[: j + 1]) & set(order_b[: j + 1])) / (j + 1) for j, w in enumerate(weights)))


def knowledge(rng):
    items = []
    for _ in range(40):
        k = int(rng.integers(2, 11))
        a = rng.normal(-8, 3, k).round(1)
        b = (0.5 * a + rng.normal(-4, 2, k)).round(1)
        items.append({"a": a.tolist(), "b": b.tolist(), "gold": int(rng.integers(k))})
    gold = np.array([i["gold"] for i in items])
    answer = {side: np.array([int(np.argmax(i[side])) for i in items]) for side in "ab"}
    right = {side: answer[side] == gold for side in "ab"}
    ways = np.array([1 / (len(i["a"]) - 1) for i in items])
    wrong = ~right["a"]
    return {
        "items": items,
        "rank_c": float(np.mean([rank_c(i["a"], i["b"]) for i in items])),
        "log_odds": float(np.mean([logit(softmax(i["a"])[i["gold"]]) for i in items])),
        "right": float((right["a"] & right["b"]).sum() / right["a"].sum()),
        "right_chance": float(right["b"].mean()),
        "wrong": float((wrong & (answer["a"] == answer["b"])).sum() / wrong.sum()),
        "wrong_chance": float((1 - right["b"].mean()) * ways[wrong].mean()),
    }


def preferences(rng):
    occupations, items = 12, []
    lean = rng.normal(0, 1, occupations)
    for pair in range(80):
        gold, other = (int(x) for x in rng.choice(occupations, 2, replace=False))
        for male in (True, False):
            sign = 1 if male else -1
            of = lambda noise: float(np.round(sign * (lean[gold] - lean[other]) + rng.normal(0, noise), 1))
            items.append({"pair": pair, "male": male, "gold": gold, "other": other, "first": of(1), "second": of(3)})
    found = {}
    for prompt in ("first", "second"):
        values = []
        for o in range(occupations):
            rate = {}
            for male in (True, False):
                these = [i for i in items if i["male"] == male and o in (i["gold"], i["other"])]
                taken = [0.5 if i[prompt] == 0 else float((i[prompt] > 0) == (o == i["gold"])) for i in these]
                rate[male] = np.mean(taken)
            values.append(float(rate[True] - rate[False]))
        found[prompt] = values
    return {
        "items": items,
        "osb": found,
        "asb": float(np.mean(np.abs(found["first"]))),
        "pearson": float(pearsonr(found["first"], found["second"])[0]),
        "spearman": float(spearmanr(found["first"], found["second"])[0]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parents[1] / "fixtures")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    out = args.out / "metrics" / "knowledge.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    golden = {"knowledge": knowledge(rng), "preferences": preferences(rng)}
    out.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
