"""What each mode of `mentalize.wrap` adds to a chatbot, beside the bare chatbot in one run: medians, taken in turns.

The models answer at once, so what is left is our own time; how deep a mode waits for models is in its trace. Exits with
1 if `observe` adds more than its target, which is time that a person would wait for nothing.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import mentalize
from mentalize import Identity, Mind
from mentalize.llm.scripted import ScriptedModel

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from figures import Figure, Reporter, as_json, complain, show

from social_script import MESSAGE, SCRIPT

BENCHMARK = "half a minute"

TARGET = 0.001
"""Seconds that `observe` may add before the answer."""
MODES = ("observe", "guide", "review", "author")

Chatbot = Callable[[str], Awaitable[str]]


async def chatbot(message: str) -> str:
    await asyncio.sleep(0)
    return "Shall I stay a little?"


async def seconds(bot: Chatbot) -> float:
    began = time.perf_counter()
    await bot(MESSAGE)
    return time.perf_counter() - began


async def measure(times: int, effort: str, folder: str) -> dict[str, float]:
    memory = {"url": f"sqlite:///{folder}/memory.db"}
    async with Mind(model=ScriptedModel(SCRIPT), cache_folder=folder, memory=memory) as mind:
        await mind.open()
        bots: dict[str, Chatbot] = {"bare": chatbot}
        for mode in MODES:
            user = Identity("bench", mode)
            bots[mode] = mentalize.wrap(chatbot, user=user, mode=mode, mind=mind, effort=effort)
        taken: dict[str, list[float]] = {name: [] for name in bots}
        for number in range(times + 2):
            for name, bot in bots.items():
                took = await seconds(bot)
                if number >= 2:
                    taken[name].append(took)
                await asyncio.gather(*(bots[mode].mentalize.noted() for mode in MODES))
    return {name: statistics.median(values) for name, values in taken.items()}


def figures(medians: dict[str, float]) -> list[Figure]:
    answer, added = Reporter("an answer, median"), Reporter("added to the bare chatbot, median")
    found = [answer(name, 1e3 * median, "ms") for name, median in medians.items()]
    for mode in MODES:
        target = {"at_most": 1e3 * TARGET} if mode == "observe" else {}
        found.append(added(mode, 1e3 * (medians[mode] - medians["bare"]), "ms", **target))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100, help="answers of each kind")
    parser.add_argument("--effort", default="medium", help="how much thought each gets")
    parser.add_argument("--quick", action="store_true", help="ten answers of each kind")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        medians = asyncio.run(measure(10 if given.quick else given.times, given.effort, folder))
    found, facts = figures(medians), {"effort": given.effort}
    faults = [f"observe adds more than {TARGET * 1000:g} ms"] if not all(figure.met for figure in found) else []
    if given.json:
        print(as_json(found, quick=given.quick, faults=faults, facts=facts))
    else:
        show(found, facts)
    return complain(faults)


if __name__ == "__main__":
    sys.exit(main())
