"""Tokens of a `medium` first turn, beside those of MetaMind's released code on the same message.

    python bench/tokens.py                  # about two minutes on two cores: the embedded model counts by reading

MetaMind's code (arXiv 2505.18943, commit 866aaf6) takes 37 calls, 7,835 prompt and 878 completion tokens for "I'm fine.
Go without me, really.", with replies of plausible length and Qwen2.5's tokenizer. Here the embedded model, which has
the same tokenizer, reads each prompt of a turn in its chat template and says how many tokens it is. The answers are
those of `answers.json`, which do what the prompts ask for: six hypotheses, three readings, one change by a norm. What a
prefix cache saves is counted as vLLM's would: whole blocks of 16 tokens that an earlier call had read. The server has
answered somebody else before; for comparison there is the figure of one that was just started.

Exits with 1 if the turn takes more than it may. Exits with 77 where the embedded model is not installed.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from answerer import MESSAGE
from figures import Figure, Reporter, as_json, complain, show, status_of

from mentalize import Mind, Settings
from mentalize.llm.model import Capabilities, Model, Request, StructuredMode
from mentalize.llm.resolve import resolve
from mentalize.llm.scripted import FunctionModel
from mentalize.types import user

BENCHMARK = "1 minute"

ANSWERS = Path(__file__).parent / "answers.json"
ANOTHER = "We moved house last week and the cat still hides."
METAMIND = 7_835 + 878
IN_ALL = 0.75
"""Share of MetaMind's tokens that a turn may take."""
UNCACHED = 0.45
"""Share that it may take once what a prefix cache has is left out."""
BLOCK = 16


class Counter:
    """Counts by letting the embedded model read."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def prompt(self, request: Request) -> int:
        read = await self._model.complete(replace(request, max_tokens=1, format=None))
        return read.usage.prompt_tokens

    async def text(self, text: str) -> int:
        """Tokens of a text alone."""
        return await self.prompt(Request(messages=(user(text),))) - await self.prompt(Request(messages=(user(""),)))


async def turn(message: str) -> Sequence[tuple[Request, str]]:
    """The requests of a medium first turn in the order in which they were sent, each with its answer."""
    answers = json.loads(ANSWERS.read_text(encoding="utf-8"))
    sent: list[tuple[Request, str]] = []

    def answer(request: Request) -> str:
        said = answers[request.purpose]
        text = said if isinstance(said, str) else json.dumps(said, separators=(",", ":"))
        sent.append((request, text))
        return text

    model = FunctionModel(answer, capabilities=Capabilities(StructuredMode.JSON_SCHEMA))
    with tempfile.TemporaryDirectory() as folder:
        async with Mind(Settings(cache_folder=Path(folder)), model=model) as mind:
            trace = (await mind.reply(message, effort="medium")).trace
    if trace.failures:
        raise RuntimeError(f"The turn left something out: {'; '.join(trace.failures)}")
    return sent


def shared(request: Request, earlier: Sequence[Request]) -> str:
    """The longest beginning of a request that an earlier one has, too."""
    whole = _written(request)
    return max((_common(whole, _written(other)) for other in earlier), key=len, default="")


def _common(one: str, other: str) -> str:
    return "".join(letter for letter, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _written(request: Request) -> str:
    return "".join(f"<|im_start|>{message.role}\n{message.text}<|im_end|>\n" for message in request.messages)


async def measure(counter: Counter) -> list[Figure]:
    sent = await turn(MESSAGE)
    requests = [request for request, _ in sent]
    others = [request for request, _ in await turn(ANOTHER)]
    prompts = [await counter.prompt(request) for request in requests]
    answers = sum([await counter.text(text) for _, text in sent])
    within = [await counter.text(shared(request, requests[:at])) for at, request in enumerate(requests)]
    beginnings = [await counter.text(shared(request, others + requests[:at])) for at, request in enumerate(requests)]
    fresh, cached = (sum(tokens // BLOCK * BLOCK for tokens in counts) for counts in (within, beginnings))
    total = sum(prompts) + answers
    tokens, beside = Reporter("tokens of a medium first turn"), Reporter("beside MetaMind's released code")
    return [
        *(tokens(f"{asked.purpose}, prompt", count, "tokens") for asked, count in zip(requests, prompts, strict=True)),
        tokens("prompt", sum(prompts), "tokens"),
        tokens("completion", answers, "tokens"),
        tokens("prompt, in a prefix cache", cached, "tokens"),
        tokens("MetaMind, prompt and completion", METAMIND, "tokens"),
        beside("in all", total / METAMIND, "×", at_most=IN_ALL, always=True),
        beside("without what a prefix cache has", (total - cached) / METAMIND, "×", at_most=UNCACHED, always=True),
        beside("the same, on a server that was just started", (total - fresh) / METAMIND, "×"),
    ]


async def counted() -> list[Figure]:
    model = resolve("embedded")
    try:
        return await measure(Counter(model))
    finally:
        await model.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same: there is nothing to leave out")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    found = asyncio.run(counted())
    faults = [str(figure) for figure in found if figure.always and not figure.met]
    if arguments.json:
        print(as_json(found, quick=arguments.quick, faults=faults))
    else:
        show(found)
    return complain(faults)


if __name__ == "__main__":
    sys.exit(status_of(main))
