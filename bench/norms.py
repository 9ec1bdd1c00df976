"""How well norms are found, and what that costs.

With data (`--data`, NormAd-Eti: 2,633 stories of 75 countries, each written from one rule of thumb), every country's
rules are written as a norm pack, read as a deployment's own packs are, and searched with each story while that country
is stated. Ours is compared in the same run with BM25 and with the cosine of the packaged embedder's vectors over the
same rules. With `--quick`, which needs no data, only our own packs are timed.

Exits with 1 if ours does not find the rule among five more often than both, if our packs take more than 100 ms to read,
or if a search without embedding takes more than 10 ms at the 95th percentile.
"""

import argparse
import asyncio
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from figures import Figure, LeftOut, Reporter, above, as_json, complain, show, status_of

from mentalize.function_words import FUNCTION_WORDS
from mentalize.llm.embedder import resolve_embedder
from mentalize.norms.library import NormLibrary
from mentalize.terms import fold
from mentalize.types import Circumstances, NormMatch

BENCHMARK = "2 minutes"

DATA = Path(__file__).resolve().parents[2] / "shared" / "bench" / "normad"
FOUND_AMONG = 5
MANY = 1_000
OURS, OURS_LEXICAL = "ours", "ours, words alone"
BM25, COSINE = FLOORS = ("BM25", "cosine")
LOAD_SECONDS = 0.100
SEARCH_SECONDS = 0.010
MESSAGES = (
    "My uncle put the red envelope back three times.",
    "My mother-in-law says I should not work after the wedding.",
    "I was late for dinner and they said it was fine.",
    "He said inshallah when I asked whether he would come.",
    "My boss praised me in front of everyone and I did not know what to say.",
    "Her father died on Sunday. What do I write?",
)
STATED = ("Japanese", "Chinese", "Turkish", "Nigerian", "Mexican", "German")


@dataclass(frozen=True, slots=True)
class Found:
    """How often the rule that a story was written from is found, in %."""

    name: str
    first: float
    among_five: float
    reciprocal_rank: float


# --- finding ----------------------------------------------------------------------------------------------


async def finding(folder: Path) -> list[Found]:
    by_country: dict[str, list[dict]] = defaultdict(list)
    for line in (folder / "items.jsonl").read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        by_country[item["meta"]["country"]].append(item)
    ranks: dict[str, list[int]] = defaultdict(list)
    embedder = resolve_embedder("minilm")
    with tempfile.TemporaryDirectory() as temporary:
        for number, (country, items) in enumerate(sorted(by_country.items())):
            rules = sorted({item["context"]["rule_of_thumb"] for item in items})
            library = NormLibrary.load(write_pack(Path(temporary), f"country_{number}", country, rules))
            stated = Circumstances(cultures=(country,))
            await library.embed(embedder, stated)
            matrix = await embedder.embed(rules)
            queries = await embedder.embed([item["question"] for item in items], query=True)
            documents = [plain_words(rule) for rule in rules]
            for item, query in zip(items, queries, strict=True):
                story, rule = item["question"], item["context"]["rule_of_thumb"]
                by_words = library.matches(story, circumstances=stated, limit=MANY)
                fused = library.matches(story, circumstances=stated, vector=query, embedder=embedder.name, limit=MANY)
                ranks[OURS_LEXICAL].append(place(by_words, rule))
                ranks[OURS].append(place(fused, rule))
                ranks[BM25].append(rank(bm25(documents, plain_words(story)), rules.index(rule)))
                ranks[COSINE].append(rank([float(value) for value in matrix @ query], rules.index(rule)))
    await embedder.close()
    return [summary(name, found) for name, found in ranks.items()]


def write_pack(folder: Path, name: str, country: str, rules: Sequence[str]) -> Path:
    """A country's rules as a norm pack. A rule says both what is done and when, so it is its own condition."""
    lines = [f'[culture]\nid = "{name}"\nname = {json.dumps(country)}\nregion = "NormAd"\n']
    for number, rule in enumerate(rules):
        text = json.dumps(rule)
        lines.append(
            f'[[norm]]\nid = "{name}.{number}"\nstatement = {text}\napplies = {text}\nstrength = 0.5\n'
            'source = "NormAd-Eti, https://arxiv.org/abs/2404.12464"\n'
        )
    path = folder / f"{name}.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def place(found: Sequence[NormMatch], wanted: str) -> int:
    """How many of the country's norms come before."""
    statements = [match.norm.statement for match in found if match.norm.culture]
    return statements.index(wanted) if wanted in statements else MANY


def rank(scores: Sequence[float], wanted: int) -> int:
    """How many come before; of equals, those that stand before."""
    return sum(score > scores[wanted] or (score == scores[wanted] and at < wanted) for at, score in enumerate(scores))


def plain_words(text: str) -> list[str]:
    return [word for word in fold(text).split() if word not in FUNCTION_WORDS["english"]]


def bm25(documents: Sequence[Sequence[str]], query: Sequence[str], k1: float = 1.5, b: float = 0.75) -> list[float]:
    count = len(documents)
    holding = Counter(word for document in documents for word in set(document))
    average = sum(map(len, documents)) / count
    scores: list[float] = []
    for document in documents:
        counts = Counter(document)
        norm = k1 * (1 - b + b * len(document) / average)
        scores.append(
            sum(
                math.log(1 + (count - holding[word] + 0.5) / (holding[word] + 0.5))
                * counts[word]
                * (k1 + 1)
                / (counts[word] + norm)
                for word in set(query)
                if word in counts
            )
        )
    return scores


def summary(name: str, ranks: Sequence[int]) -> Found:
    places = np.array(ranks)
    return Found(
        name,
        100 * float((places < 1).mean()),
        100 * float((places < FOUND_AMONG).mean()),
        100 * float((1 / (places + 1)).mean()),
    )


# --- cost -------------------------------------------------------------------------------------------------


def loading(times: int = 5) -> float:
    """Seconds to read and check every packaged norm, in a fresh process; the best of several."""
    code = (
        "import time\nfrom mentalize.norms.library import packaged_files\nfrom mentalize.norms.pack import read_pack\n"
        "began = time.perf_counter()\nfor file in packaged_files():\n    read_pack(file)\n"
        "print(time.perf_counter() - began)"
    )
    runs = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(times)
    )
    return min(float(run.stdout) for run in runs)


def searching(times: int = 40) -> tuple[float, float]:
    """Median and 95th percentile of a search, in seconds, with a culture stated and without embedding."""
    library = NormLibrary.load()
    took: list[float] = []
    for stated in STATED:
        circumstances = Circumstances(cultures=(stated,))
        library.matches("", circumstances=circumstances)
        for message in MESSAGES * times:
            began = time.perf_counter()
            library.matches(message, circumstances=circumstances)
            took.append(time.perf_counter() - began)
    return statistics.median(took), float(np.percentile(took, 95))


# --- what is said -----------------------------------------------------------------------------------------


def figures(load: float, median: float, late: float, found: Sequence[Found]) -> list[Figure]:
    read, search = Reporter("our packs are read"), Reporter("a search without embedding")
    said = [
        read("best of several", 1e3 * load, "ms", at_most=1e3 * LOAD_SECONDS),
        search("median", 1e3 * median, "ms"),
        search("p95", 1e3 * late, "ms", at_most=1e3 * SEARCH_SECONDS),
    ]
    first, among, reciprocal = (Reporter(f"the rule is found: {how}") for how in ("hit@1", "hit@5", "MRR"))
    said += [first(item.name, item.first, "%") for item in found]
    best = max((item.among_five for item in found if item.name in FLOORS), default=0.0)
    for item in found:
        target = {"at_least": above(best)} if item.name == OURS else {}
        said.append(among(item.name, item.among_five, "%", always=item.name == OURS, **target))
    return said + [reciprocal(item.name, item.reciprocal_rank, "%") for item in found]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of NormAd-Eti as items.jsonl")
    parser.add_argument("--quick", action="store_true", help="time our own packs only")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args()
    if not given.quick and not (given.data / "items.jsonl").exists():
        raise LeftOut(f"There is no {given.data / 'items.jsonl'}; give --data, or --quick.")
    load, (median, late) = loading(), searching()
    found = [] if given.quick else asyncio.run(finding(given.data))
    said, facts = figures(load, median, late, found), {"packaged norms": str(len(NormLibrary.load().every()))}
    faults = [str(figure) for figure in said if not figure.met]
    if given.json:
        print(as_json(said, quick=given.quick, faults=faults, facts=facts))
    else:
        show(said, facts)
    return complain(faults)


if __name__ == "__main__":
    sys.exit(status_of(main))
