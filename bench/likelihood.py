"""How far plausibility by likelihood and by rating agree, on stories of ToMBench whose right answer is known.

    python bench/likelihood.py --data FOLDER        # about fifteen minutes on two cores, with the embedded model

The options of an item are rival hypotheses about somebody's mind: 50 items with four options are 200 hypotheses. The
story and the question are what a person writes. Each hypothesis gets P_cond and P_prior twice, as a turn computes them:
by the likelihood of its words (`plausibility = "likelihood"`), and by the scale that the embedded model rates on
(`plausibility = "rated"`). Two scores agree on a pair of rivals if both put the same one first.

There is no target: it is measured so that it can be told. Data sets are not part of the project.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

from figures import Figure, LeftOut, Reporter, as_json, show, status_of

from mentalize.agents.intake import intake
from mentalize.evals.intervals import wilson
from mentalize.evals.items import Item, read_items
from mentalize.graphs.team import Prompts, Roles, Team, assemble
from mentalize.llm.resolve import resolve
from mentalize.norms.charter import load_charter
from mentalize.prompts.library import Library
from mentalize.types import Evidence, Hypothesis, MentalState, RefinedHypothesis

BENCHMARK = "15 minutes"

DATA = Path(__file__).resolve().parents[2] / "shared" / "bench" / "tombench"
ITEMS = 50
OPTIONS = 4
SEED = 7

Scores = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Scored:
    """The hypotheses of one item by both measures, by id."""

    right: str
    likely: Scores
    likely_prior: Scores
    rated: Scores
    rated_prior: Scores
    seconds_likely: float
    seconds_rated: float


def chosen(data: Path, count: int) -> Sequence[Item]:
    """English items with four options, the same in every run."""
    items = [item for item in read_items(data).of("en").items if len(item.options) == OPTIONS and item.main]
    return random.Random(SEED).sample(items, count)


def team_of(model_name: str) -> Team:
    model = resolve(model_name)
    return assemble(
        Roles(model, model, model),
        Prompts.from_library(Library()),
        load_charter("companion"),
        hypotheses=OPTIONS,
        choosing=True,
        scope=("bench",),
    )


async def scored(team: Team, item: Item) -> Scored:
    turn = intake([{"role": "user", "content": f"{item.story}\n\n{item.question}"}], at=datetime.now(UTC))
    hypotheses = [
        Hypothesis(
            id=f"h{at}", state=MentalState.THOUGHT, explanation=option, evidence=Evidence(words=""), confidence=0.5
        )
        for at, option in enumerate(item.options)
    ]
    began = time.perf_counter()
    likely = await team.likelihood_scorer(turn, hypotheses)
    between = time.perf_counter()
    refined = [RefinedHypothesis(hypothesis=each, text=each.explanation) for each in hypotheses]
    rated, prior = await team.plausibility_scorer(turn, refined)
    return Scored(
        right=f"h{item.right}",
        likely=likely.conditional,
        likely_prior=likely.prior,
        rated={each.hypothesis.id: each.p_cond for each in rated},
        rated_prior=prior,
        seconds_likely=between - began,
        seconds_rated=time.perf_counter() - between,
    )


def agreement(pairs: Sequence[tuple[Scores, Scores]]) -> tuple[int, int]:
    """How many pairs of rivals both scores order alike, of how many that neither finds equal."""
    signs = [(one[a] - one[b]) * (other[a] - other[b]) for one, other in pairs for a, b in combinations(sorted(one), 2)]
    told = [sign for sign in signs if sign]
    return sum(sign > 0 for sign in told), len(told)


def figures(found: Sequence[Scored]) -> list[Figure]:
    alike, first = Reporter("pairs of rivals that likelihood and rating order alike"), Reporter("right one put first")
    seconds, text = Reporter("an item, median"), "share"
    with_it = agreement([(item.likely, item.rated) for item in found])
    without = agreement([(item.likely_prior, item.rated_prior) for item in found])
    added = [
        (
            {name: item.likely[name] / item.likely_prior[name] for name in item.likely},
            {name: item.rated[name] / max(item.rated_prior[name], 1e-6) for name in item.rated},
        )
        for item in found
    ]
    figures: list[Figure] = []
    for name, (same, total) in (
        ("P_cond", with_it),
        ("P_prior", without),
        ("P_cond over P_prior", agreement(added)),
    ):
        interval = wilson(same, total)
        figures += [
            alike(name, interval.value, text),
            alike(f"{name}, 95 % from", interval.low, text),
            alike(f"{name}, 95 % to", interval.high, text),
        ]
    measures = {
        "by likelihood": [item.likely for item in found],
        "by rating": [item.rated for item in found],
        "by likelihood, over P_prior": [likely for likely, _ in added],
        "by rating, over P_prior": [rated for _, rated in added],
    }
    for name, scores in measures.items():
        right = sum(max(score, key=score.__getitem__) == item.right for score, item in zip(scores, found, strict=True))
        interval = wilson(right, len(found))
        figures += [first(name, interval.value, text), first(f"{name}, 95 % to", interval.high, text)]
    times = sorted(item.seconds_likely for item in found), sorted(item.seconds_rated for item in found)
    figures += [seconds(name, of[len(of) // 2], "s") for name, of in zip(("likelihood", "rating"), times, strict=True)]
    return [*figures, Reporter("what was scored")("hypotheses", len(found) * OPTIONS)]


async def measure(items: Sequence[Item], model: str) -> list[Figure]:
    team = team_of(model)
    try:
        found: list[Scored] = []
        for number, item in enumerate(items):
            found.append(await scored(team, item))
            print(f"\r• {number + 1} of {len(items)}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        return figures(found)
    finally:
        await team.likelihood_scorer.model.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of ToMBench as items.jsonl")
    parser.add_argument("--model", default="embedded", help="a model that tells likelihoods and first tokens")
    parser.add_argument("--quick", action="store_true", help="five items")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args()
    if not (given.data / "items.jsonl").exists():
        raise LeftOut(f"There is no {given.data / 'items.jsonl'}; give --data.")
    items = chosen(given.data, 5 if given.quick else ITEMS)
    found, facts = asyncio.run(measure(items, given.model)), {"model": given.model}
    if given.json:
        print(as_json(found, quick=given.quick, facts=facts))
    else:
        show(found, facts)
    return 0


if __name__ == "__main__":
    sys.exit(status_of(main))
