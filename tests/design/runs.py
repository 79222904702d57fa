"""Design runs that never were, written through the ledger, for the tests of what reads it."""

import numpy as np

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design import Answer
from pyg_crysdiff.design.filtering import Verdict
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.design.objectives import read_objectives
from pyg_crysdiff.design.plain import objective_facts

SITES = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])


def perovskite(a, b, x=8, side=4.0, move=0.0):
    """ABX3 in a cube; ``move`` shifts the middle atom along the diagonal."""
    sites = SITES.copy()
    sites[1] += move
    return Crystal(side * np.eye(3), sites, np.array([a, b, x, x, x]))


def facts(*texts, **more):
    """Settings of a run."""
    return {
        "objectives": objective_facts(read_objectives(texts)),
        "checkpoint": "0123abcd",
        "oracle": "toy",
        "budget": 100,
        "data": {"crystals": 11356, "digest": "4567"},
        "seed": 0,
        "about": {"checkpoint": "perov5-cds", "data": "perov5"},
        **more,
    }


def small(folder, answers, target="heat_ref=:0.5", rounds=(), crystals=None, **more):
    """A run with one candidate for each answer, in two rounds, all asked and answered in order.

    ``answers`` are numbers, or texts for evaluations that failed; None is under way.
    """
    half = (len(answers) + 1) // 2
    crystals = crystals or [perovskite(20 + k, 40 + k) for k in range(len(answers))]
    with Ledger(folder, facts(target, **more)) as ledger:
        for number, part in enumerate((range(half), range(half, len(answers))), start=1):
            own = [crystals[k] for k in part]
            size = len(own)
            predicted = {"heat_ref": (np.full(size, 0.4), np.full(size, 0.2))}
            chosen = {k: k + 1 for k in range(size)}
            verdicts = [Verdict("candidate")] * size
            ledger.add_round(number, {}, own, verdicts, np.zeros(size), predicted, chosen)
            keys = [f"{k + 1:05d}" for k in part]
            for key, k in zip(keys, part, strict=True):
                if answers[k] is not None:
                    ledger.add_answer(key, _answer(answers[k]))
            ledger.close_round(number, rounds[number - 1] if rounds else {})
    return folder


def _answer(given):
    if isinstance(given, str):
        return Answer.failed(given)
    return given if isinstance(given, Answer) else Answer({"heat_ref": given}, facts={"seconds": 1})


def large(folder, rounds=10, batch=50, seed=0):
    """A run as large as real ones: the values fall, and the predictor is a little too sure."""
    rng = np.random.default_rng(seed)
    metals = [k for k in range(3, 84) if k not in (8, 9, 10, 16, 17, 18, 35, 36, 53, 54)]
    pairs = [(a, b, x) for a in metals for b in metals if a != b for x in (7, 8, 9)]
    order = rng.permutation(len(pairs))
    targets = ("heat_ref=min,:0.44", "band_gap=1:3")
    with Ledger(folder, facts(*targets, budget=rounds * batch)) as ledger:
        for number in range(1, rounds + 1):
            _large_round(ledger, number, batch, [pairs[k] for k in order], rng)
    return folder


def _large_round(ledger, number, batch, pairs, rng):
    drawn = 12 * batch
    mine = pairs[(number - 1) * drawn : number * drawn]
    moves = rng.uniform(0, 0.08, drawn) * (rng.random(drawn) < 0.4)
    crystals = [
        perovskite(*p, side=rng.uniform(3.6, 4.6), move=m) for p, m in zip(mine, moves, strict=True)
    ]
    statuses = rng.choice(
        ["candidate", "invalid", "known", "seen", "twice"], drawn, p=[0.6, 0.1, 0.15, 0.05, 0.1]
    )
    reasons = {"candidate": "", "invalid": "atoms on top of each other", "known": "in the data"}
    verdicts = [Verdict(s, reasons.get(s, "matches another")) for s in statuses]
    candidates = np.flatnonzero(statuses == "candidate")[:batch]
    chosen = {int(k): rank for rank, k in enumerate(candidates, start=1)}
    heat = rng.normal(1.1 - 0.09 * number, 0.35, drawn)
    gap = np.abs(rng.normal(1.2, 1.2, drawn))
    predicted = {
        "heat_ref": (heat + rng.normal(0, 0.2, drawn), np.full(drawn, 0.15)),
        "band_gap": (gap + rng.normal(0, 0.5, drawn), rng.uniform(0.3, 0.6, drawn)),
    }
    ledger.add_round(number, {}, crystals, verdicts, -heat, predicted, chosen)
    first = (number - 1) * batch
    for k in rng.permutation(list(chosen)):
        key = f"{first + chosen[int(k)]:05d}"
        values = {"heat_ref": float(heat[k]), "band_gap": float(gap[k])}
        answer = Answer(values, facts={"seconds": float(rng.exponential(30))})
        if rng.random() < 0.08:
            answer = Answer.failed(rng.choice(["did not converge in 500 steps", "job was killed"]))
        ledger.add_answer(key, answer)
    losses = {"found": {"before": 1.31, "after": 1.12}, "original": {"before": 0.91, "after": 0.92}}
    taken = number % 3 != 0
    learning = {"accepted": taken, "losses": losses, "problem": "" if taken else "it forgets"}
    seconds = {"predictor": 12.0, "draw": 95.0, "filter": 6.0, "choose": 2.0}
    facts = {"values": 900 + 50 * number, "held_out": 180, "mae": 0.11, "coverage": {"80%": 0.81}}
    predictor = {"heat_ref": facts, "band_gap": {"known": 9, "problem": "fewer than 20 values"}}
    closing = {"seconds": seconds, "predicted_hits": 1.8 * number, "predictor": predictor}
    if number > 2:
        closing["learning"] = {**learning, "seconds": 120.0}
    ledger.close_round(number, closing)
