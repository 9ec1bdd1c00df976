"""Writer: writes the reply that the plan asks for. MetaMind's response agent (arXiv 2505.18943, §3.3).

The conversation goes to the model as the caller sent it (tools, images and unknown fields included); guidance stands at
the tail of the last message, so that the endpoint's prefix cache still hits.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..llm.model import Delta, Model, Request
from ..llm.structured import without_thinking
from ..prompts.format import as_guess, bullets, shortened
from ..prompts.prompt import Prompt, fence, without_invisible
from ..types import Draft, Message, Plan, Turn


@dataclass(frozen=True, slots=True)
class CompanionInputs:
    """What the instructions of a companion are filled with."""

    name: str
    role: str
    persona: str
    duties: str
    limits: str


@dataclass(frozen=True, slots=True)
class WriteInputs:
    """What the guidance is filled with."""

    understanding: str
    act: str
    tone: str
    formality: int
    must: str
    must_not: str
    hints: str
    anchors: str
    ask: str
    critique: str
    norms: str
    perspectives: str


@dataclass(frozen=True, slots=True)
class BriefWriteInputs:
    """What the guidance of a small model is filled with."""

    understanding: str
    anchors: str
    ask: str
    norms: str
    critique: str


@dataclass(frozen=True, slots=True)
class SetOutInputs:
    """What the guidance of a small model is filled with when several traditions are to be set out."""

    perspectives: str
    norms: str
    critique: str


@dataclass(frozen=True, slots=True)
class PrinciplesInputs:
    """What the principles are filled with: what is meant to be said again must not stand in a prompt itself."""

    traditions: str


BRIEF_ANCHORS = 2
"""Memories that a small model is reminded of."""

BRIEF_ANCHOR = 160
"""Characters of each."""


@dataclass(frozen=True, slots=True)
class Guidance:
    """How a plan is put to a model that writes."""

    prompt: Prompt[WriteInputs]
    principles: Prompt[PrinciplesInputs]
    traditions: tuple[str, ...]
    """Those that the principles name."""

    def __call__(self, plan: Plan, critique: str) -> str:
        return self.prompt.render(
            WriteInputs(
                understanding=_guess("What may be on their mind:", plan.understanding),
                act=plan.act,
                tone=plan.tone,
                formality=plan.formality,
                must=f"Do:\n{bullets(plan.must)}" if plan.must else "",
                must_not=f"Do not:\n{bullets(plan.must_not)}" if plan.must_not else "",
                hints=_guess("What may help:", bullets(plan.hints) if plan.hints else ""),
                anchors=_memories(plan.anchors),
                ask=_question(plan),
                critique=_reason(critique),
                norms=_usual(plan.norms),
                perspectives=_perspectives(plan, self.principles, self.traditions),
            )
        )

    def prompts(self, plan: Plan) -> tuple[str, ...]:
        """The prompts that this plan is put with."""
        return (self.prompt.id, *_named(plan, self.principles))


@dataclass(frozen=True, slots=True)
class BriefGuidance:
    """The same for a small model: the reading, and little else."""

    prompt: Prompt[BriefWriteInputs]
    set_out: Prompt[SetOutInputs]
    principles: Prompt[PrinciplesInputs]
    traditions: tuple[str, ...]
    """Those that the principles name."""

    def __call__(self, plan: Plan, critique: str) -> str:
        if plan.multiplex:
            views = _perspectives(plan, self.principles, self.traditions)
            return self.set_out.render(SetOutInputs(views, _usual(plan.norms), _reason(critique)))
        anchors = [shortened(anchor, BRIEF_ANCHOR) for anchor in plan.anchors[:BRIEF_ANCHORS]]
        inputs = BriefWriteInputs(
            understanding=as_guess(plan.understanding),
            anchors=_memories(anchors),
            ask=_question(plan),
            norms=_usual(plan.norms[:1]),
            critique=_reason(critique),
        )
        return self.prompt.render(inputs)

    def prompts(self, plan: Plan) -> tuple[str, ...]:
        """The prompts that this plan is put with."""
        return (self.set_out.id, *_named(plan, self.principles)) if plan.multiplex else (self.prompt.id,)


def _memories(anchors: Sequence[str]) -> str:
    return f"You remember about them:\n{fence('memory', bullets(anchors))}" if anchors else ""


def _guess(what: str, text: str) -> str:
    return f"{what}\n{fence('guess', text)}" if text else ""


def _usual(norms: Sequence[str]) -> str:
    """Norms of the person's stated culture, as what may matter to them."""
    return (
        f"What is usual where they say they belong, and may or may not be so for them:\n{bullets(norms)}"
        if norms
        else ""
    )


def _perspectives(plan: Plan, principles: Prompt[PrinciplesInputs], traditions: Sequence[str]) -> str:
    """The lenses' views, or the principles where no lens was asked; empty where none is wanted."""
    if not plan.multiplex:
        return ""
    if not plan.perspectives:
        return principles.render(PrinciplesInputs(bullets(traditions)))
    return f"How several traditions see it:\n{fence('perspectives', bullets(plan.perspectives))}"


def _named(plan: Plan, principles: Prompt[PrinciplesInputs]) -> tuple[str, ...]:
    return (principles.id,) if plan.multiplex and not plan.perspectives else ()


def _question(plan: Plan) -> str:
    return _guess("Ask them, gently, about this:", plan.ask)


def _reason(critique: str) -> str:
    return f"An earlier draft failed for this reason:\n{fence('critique', critique)}" if critique else ""


AHEAD = "write.ahead"
"""Purpose of a call that writes for a plan that is not sure yet."""


@dataclass(frozen=True, slots=True)
class Persona:
    """Who the assistant is, for a conversation that does not say so."""

    message: Message
    prompt: str
    """The `id@version#digest` of the words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Writes one draft."""

    model: Model
    persona: Persona
    guidance: Guidance | BriefGuidance
    max_tokens: int | None = None
    """The longest reply; None leaves it to the caller's own parameters and the model."""
    set_out_tokens: int | None = None
    """The longest reply that sets out several traditions; likewise."""

    async def __call__(
        self,
        turn: Turn,
        plan: Plan | None,
        *,
        critique: str = "",
        revision: int = 0,
        temperature: float | None = None,
        ahead: bool = False,
    ) -> Draft:
        """A draft that follows `plan`; without one, what the model says to the conversation as it is.

        `ahead` marks the call as one for a plan that is not sure yet.
        """
        request = self.request(turn, plan, critique=critique)
        request = replace(request, purpose=AHEAD) if ahead else request
        completion = await self.model.complete(replace(request, temperature=temperature) if temperature else request)
        text = completion.text if plan is None else clean(completion.text)
        if plan and self._longest(plan) and completion.finish_reason == "length":
            text = whole_sentences(text)
        return Draft(
            text=text,
            revision=revision,
            finish_reason=completion.finish_reason,
            usage=completion.usage,
            message=completion.message if plan is None else {},
        )

    def stream(self, turn: Turn, plan: Plan | None) -> AsyncIterator[Delta]:
        """The same, piece by piece and as the model makes it."""
        return self.model.stream(self.request(turn, plan))

    def request(self, turn: Turn, plan: Plan | None, *, critique: str = "") -> Request:
        """The request that writes."""
        asked = Request(messages=turn.messages, purpose="write", parameters=turn.parameters)
        if plan is None:
            return asked
        asked = replace(asked, max_tokens=self._longest(plan), prompts=self.guidance.prompts(plan))
        guided = guided_conversation(turn, self.guidance(plan, critique))
        if any(message.role in ("system", "developer") for message in guided[:-1]):
            return replace(asked, messages=guided)
        return replace(asked, messages=(self.persona.message, *guided), prompts=(self.persona.prompt, *asked.prompts))

    def _longest(self, plan: Plan) -> int | None:
        return self.set_out_tokens if plan.multiplex else self.max_tokens


def guided_conversation(turn: Turn, guidance: str) -> tuple[Message, ...]:
    """The conversation with the guidance at its end."""
    *before, last = map(_without_guidance, turn.messages)
    return (*before, _with_text(last, _guided(guidance)))


def clean(text: str) -> str:
    """A reply without thinking blocks, and without quotation marks around the whole."""
    bare = without_thinking(text)
    if len(bare) > 1 and bare[0] == bare[-1] == '"' and '"' not in bare[1:-1]:
        return bare[1:-1].strip()
    return bare


def speaks_to_them(text: str, message: str) -> bool:
    """Whether an English reply speaks to the person and not about them, as small models do with their guidance."""
    return bool(_ABOUT_THEM.search(message)) or not _ABOUT_THEM.search(text)


_ABOUT_THEM = re.compile(r"\b(they|them|their|the person)\b", re.IGNORECASE)


def whole_sentences(text: str) -> str:
    """`text` up to the end of its last whole sentence; all of it, if there is none."""
    ends = [match.end() for match in re.finditer(r"[.!?…。！？]+[\"'”’)\]]*", text)]
    return text[: ends[-1]] if ends else text


def _guided(text: str) -> str:
    lines = re.sub(r"\n{2,}", "\n", text).strip()
    return f"<guidance>\n{lines}\n</guidance>"


def _without_guidance(message: Message) -> Message:
    """A message in which nothing passes for guidance of ours. The app's own instructions stay as they are."""
    if message.role in ("system", "developer") or "<" not in message.text:
        return message
    if isinstance(message.content, list):
        parts = [part | {"text": _harmless(part["text"])} if _is_text(part) else part for part in message.content]
        return message.model_copy(update={"content": parts})
    return message.model_copy(update={"content": _harmless(message.text)})


def _is_text(part: Mapping[str, Any]) -> bool:
    return part.get("type") == "text" and isinstance(part.get("text"), str)


def _harmless(text: str) -> str:
    return re.sub("<", lambda found: "＜" if _begins_guidance(text[found.end() :][:_LONGEST_TAG]) else "<", text)


def _begins_guidance(text: str) -> bool:
    return re.match(r"\s*/?\s*guidance\b", without_invisible(text), re.IGNORECASE) is not None


_LONGEST_TAG = 80


def _with_text(message: Message, text: str) -> Message:
    if isinstance(message.content, list):
        return message.model_copy(update={"content": [*message.content, {"type": "text", "text": text}]})
    return message.model_copy(update={"content": f"{message.text}\n\n{text}"})
