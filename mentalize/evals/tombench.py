"""ToMBench: multiple-choice questions about what people in a story believe, feel and want (arXiv 2402.15052).

The arms: the model alone; the model told to be considerate; a turn of ours at each effort. All get the same text, with
the options in the same order, and answer in the same way: with a letter in words, or by the log-probabilities of one
token. Where the answer is chosen, a turn of ours goes up to its plan, and its guidance stands before the question. No
turn has an identity: nothing is recalled, and nothing is kept from one item to the next.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..agents.multiple_choice import ConsiderateInputs, ItemInputs, LetterChooser
from ..errors import InputError, MalformedAnswer, MentalizeError
from ..llm.traced import Ledger, TracedModel, total_usage
from ..mind import Mind
from ..prompts.library import Library
from ..prompts.prompt import Prompt
from ..types import MemoryMode, Message, Trace, Usage, system, user
from .intervals import Interval, Pairs, paired_difference, wilson
from .items import Item, Posed, posed
from .letters import letter_in
from .run import Run

Arm = Literal["plain", "considerate", "minimal", "low", "medium", "high"]
ARMS: tuple[Arm, ...] = ("plain", "considerate", "minimal", "low", "medium", "high")
BASELINE: Arm = "plain"
AnswerBy = Literal["letter", "choice"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One arm's answer to one item."""

    question: str
    """The item's id."""
    arm: Arm
    right: str
    """The letter of the right option, as it was shown."""
    letter: str = ""
    """The letter that was given; empty if the answer names none."""
    answer: str = ""
    """In words; empty where it was chosen."""
    chances: Mapping[str, float] = field(default_factory=dict[str, float])
    """The probability of each letter, where it was chosen."""
    understanding: str = ""
    """The guess that the turn chose."""
    left_out: tuple[str, ...] = ()
    """What of the turn failed and was left out."""
    calls: int = 0
    scorings: int = 0
    """One-token choices, the final one among them."""
    depth: int = 0
    """Calls that waited for one another, the answer among them."""
    usage: Usage = Usage()
    seconds: float = 0.0
    error: str = ""
    """Why there is no answer; such a result is asked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How many of some items an arm got right."""

    right: int
    of: int

    @property
    def accuracy(self) -> Interval:
        """The share, by Wilson's interval."""
        return wilson(self.right, self.of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An arm beside the model alone, on the items that both have answered."""

    pairs: Pairs

    @property
    def difference(self) -> Interval:
        """By how much its share is above the model's."""
        return paired_difference(self.pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One arm over all its items."""

    arm: Arm
    score: Score
    """Of what was answered; an answer that names no option is not right."""
    unreadable: int
    failed: int
    """Items without an answer, which count for nothing."""
    left_out: int
    """Turns of which a part failed and was left out."""
    mean_of_tasks: float | None
    """The mean accuracy of the main tasks, which is the published figure; None where none was asked."""
    comparison: Comparison | None
    """None for the model alone, and without it."""
    tasks: Mapping[str, Score]
    abilities: Mapping[str, Score]
    calls: float
    """Mean per answer; likewise the rest."""
    scorings: float
    depth: float
    prompt_tokens: float
    completion_tokens: float
    cached_tokens: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Examiner:
    """Puts items to a mind."""

    mind: Mind
    item: Prompt[ItemInputs]
    considerate: Prompt[ConsiderateInputs]
    by: AnswerBy

    @classmethod
    def of(cls, mind: Mind, library: Library, by: AnswerBy) -> Examiner:
        """With the prompts of a library."""
        item = library.get("item_letter" if by == "letter" else "item_choice", ItemInputs)
        return cls(mind, item, library.get("considerate", ConsiderateInputs), by)

    async def check(self) -> None:
        """Raises InputError if the answer is to be chosen and the endpoint gives no log-probabilities; ModelError if
        it cannot be asked.
        """
        writer = (await self.mind.begin("Hello.", effort="none", memory="off")).writer
        if self.by == "choice" and not (await writer.capabilities()).logprobs:
            raise InputError(f"{writer.name} gives no log-probabilities to choose by.", hint="Use --answer letter.")

    async def __call__(self, put: Posed, arm: Arm) -> Result:
        """What an arm answers; what fails is a result with an `error`."""
        began = time.perf_counter()
        blank = Result(question=put.id, arm=arm, right=put.right)
        try:
            found = await (self._written(put, blank) if self.by == "letter" else self._chosen(put, blank))
        except MentalizeError as error:
            found = replace(blank, error=str(error) or type(error).__name__)
        return replace(found, seconds=time.perf_counter() - began)

    async def _written(self, put: Posed, blank: Result) -> Result:
        reply = await self.mind.reply(self._messages(put, blank.arm), effort=_effort(blank.arm), memory=MemoryMode.OFF)
        return replace(_spent(blank, reply.trace), answer=reply.text, letter=letter_in(reply.text, put.options))

    async def _chosen(self, put: Posed, blank: Result) -> Result:
        messages = self._messages(put, blank.arm)
        guided = await self.mind.guide(messages, effort=_effort(blank.arm), memory=MemoryMode.OFF)
        if guided.guidance:
            messages = (user(f"<guidance>\n{guided.guidance}\n</guidance>\n\n{self._text(put)}"),)
        ledger = Ledger(time.perf_counter)
        choose = LetterChooser(TracedModel(guided.turn.writer, "write", ledger))
        try:
            chances = await choose(messages, tuple(put.letters))
        except MalformedAnswer:
            chances = dict[str, float]()
        letter = max(chances, key=lambda name: chances[name], default="")
        trace = (await guided.conclude(letter)).trace
        spent = _spent(blank, trace)
        return replace(
            spent,
            letter=letter,
            chances=chances,
            scorings=spent.scorings + len(ledger.records),
            depth=spent.depth + 1,
            usage=spent.usage + total_usage(ledger.records),
        )

    def _messages(self, put: Posed, arm: Arm) -> tuple[Message, ...]:
        told = (system(self.considerate.render(ConsiderateInputs())),) if arm == "considerate" else ()
        return (*told, user(self._text(put)))

    def _text(self, put: Posed) -> str:
        *first, last = put.letters
        inputs = ItemInputs(put.item.story, put.item.question, put.listed, f"{', '.join(first)} or {last}")
        return self.item.render(inputs).strip()


def _effort(arm: Arm) -> str:
    return "none" if arm in ("plain", "considerate") else arm


def _spent(blank: Result, trace: Trace) -> Result:
    return replace(
        blank,
        understanding=trace.plan.understanding if trace.plan else "",
        left_out=trace.failures,
        calls=trace.calls,
        scorings=trace.scorings,
        depth=trace.depth,
        usage=trace.usage,
    )


def all_posed(items: Iterable[Item], *, seed: int) -> tuple[Posed, ...]:
    """Items as they are put."""
    return tuple(posed(item, seed=seed) for item in items)


def summaries(kept: Run[Result], items: Sequence[Posed], arms: Sequence[Arm]) -> tuple[Summary, ...]:
    """One summary for each of these arms that has answers, over these items alone."""
    by_arm: dict[Arm, dict[str, Result]] = {
        arm: {put.id: kept.results[put.id, arm] for put in items if (put.id, arm) in kept.results} for arm in arms
    }
    return tuple(
        _summary(arm, found, by_arm.get(BASELINE, {}), items)
        for arm, found in by_arm.items()
        if any(not result.error for result in found.values())
    )


def _summary(arm: Arm, found: Mapping[str, Result], baseline: Mapping[str, Result], items: Sequence[Posed]) -> Summary:
    answered = {name: result for name, result in found.items() if not result.error}
    put = [item.item for item in items if item.id in answered]
    tasks = _scores(answered, ((item.domain, item) for item in put))
    main = [tasks[name].accuracy.value for name in {item.domain for item in put if item.main}]

    def mean(values: Iterable[float]) -> float:
        return sum(values) / len(answered)

    return Summary(
        arm=arm,
        score=Score(right=sum(map(_is_right, answered.values())), of=len(answered)),
        unreadable=sum(not result.letter for result in answered.values()),
        failed=len(found) - len(answered),
        left_out=sum(bool(result.left_out) for result in answered.values()),
        mean_of_tasks=sum(main) / len(main) if main else None,
        comparison=None if arm == BASELINE else _compared(answered, baseline),
        tasks=tasks,
        abilities=_scores(answered, ((item.ability, item) for item in put if item.ability)),
        calls=mean(result.calls for result in answered.values()),
        scorings=mean(result.scorings for result in answered.values()),
        depth=mean(result.depth for result in answered.values()),
        prompt_tokens=mean(result.usage.prompt_tokens for result in answered.values()),
        completion_tokens=mean(result.usage.completion_tokens for result in answered.values()),
        cached_tokens=mean(result.usage.cached_tokens for result in answered.values()),
        seconds=mean(result.seconds for result in answered.values()),
    )


def _is_right(result: Result) -> bool:
    return result.letter == result.right


def _scores(answered: Mapping[str, Result], named: Iterable[tuple[str, Item]]) -> dict[str, Score]:
    by_name: dict[str, list[bool]] = {}
    for name, item in named:
        by_name.setdefault(name, []).append(_is_right(answered[item.id]))
    return {name: Score(right=sum(by_name[name]), of=len(by_name[name])) for name in sorted(by_name)}


def _compared(answered: Mapping[str, Result], baseline: Mapping[str, Result]) -> Comparison | None:
    both = [
        (_is_right(result), _is_right(baseline[name]))
        for name, result in answered.items()
        if name in baseline and not baseline[name].error
    ]
    if not both:
        return None
    return Comparison(
        pairs=Pairs(
            both=both.count((True, True)),
            first=both.count((True, False)),
            second=both.count((False, True)),
            neither=both.count((False, False)),
        )
    )
