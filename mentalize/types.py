"""The nouns of a social turn: what goes in, what each stage makes of it, and the trace that shows how.

Messages are pydantic models, because they come from outside; everything made here is a frozen dataclass.
Scores, probabilities and confidences are floats in [0, 1] unless said otherwise; times are aware.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from pydantic import BaseModel, ConfigDict

from .errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "NOTHING_STATED",
    "CallRecord",
    "Candidate",
    "Circumstances",
    "Contract",
    "Culture",
    "Disagreement",
    "Draft",
    "Effort",
    "Embedder",
    "Emotion",
    "Evidence",
    "ForeseenAct",
    "Foresight",
    "HopReading",
    "Hypothesis",
    "HypothesisScore",
    "Identity",
    "Lens",
    "LensNote",
    "Memory",
    "MemoryHit",
    "MemoryKind",
    "MemoryMode",
    "MemoryStatus",
    "MentalState",
    "Message",
    "ModificationStep",
    "Multiplex",
    "Norm",
    "NormJudgement",
    "NormMatch",
    "NormUse",
    "NormVerdict",
    "Perception",
    "PerspectivesMode",
    "Plan",
    "Position",
    "Recollection",
    "RefinedHypothesis",
    "Refinement",
    "RiskKind",
    "RiskSign",
    "RoleCharter",
    "RuleFamily",
    "Selection",
    "Situation",
    "StageRecord",
    "Stance",
    "Store",
    "StreamMode",
    "StructuredCounts",
    "Trace",
    "Turn",
    "Usage",
    "ValueCue",
    "Verdict",
]


# --- what goes in -----------------------------------------------------------------------------------------


class Message(BaseModel):
    """A message in OpenAI's form. Fields we do not know are kept and handed on."""

    model_config = ConfigDict(extra="allow", frozen=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        """The text parts, joined by newlines; images and other parts have none."""
        if self.content is None:
            return ""
        if isinstance(self.content, str):
            return self.content
        parts = (part.get("text") for part in self.content if part.get("type") == "text")
        return "\n".join(part for part in parts if isinstance(part, str))

    def as_openai(self) -> dict[str, Any]:
        """The message as OpenAI's API takes it: exactly the fields that were given."""
        return self.model_dump(exclude_unset=True)


def system(text: str) -> Message:
    """A system message."""
    return Message(role="system", content=text)


def user(text: str) -> Message:
    """A user message."""
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    """An assistant message."""
    return Message(role="assistant", content=text)


LONGEST_TEXT = 1_048_576
"""Characters of one memory."""

LONGEST_NAME = 512
"""Characters of a tenant or user."""

LONGEST_STATED = 100
"""Characters of a stated culture, role or domain."""

MOST_CULTURES = 6
"""Cultures that a person may state."""

_NO_NAME = frozenset(("Cc", "Cs", "Zl", "Zp"))
"""Unicode's control characters, lone surrogates and line separators; joined emoji and Persian need the other ones."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose turn it is. Without one, nothing is remembered and nothing is recalled."""

    tenant: str
    user: str
    speaker: str | None = None
    """Who of several people speaks; the user, if not given."""
    session: str | None = None
    zone: str | None = None
    """IANA time zone of the person, which decides what their days are; the setting `memory.zone`, if not given."""
    audience: tuple[str, ...] = ()
    """Who else is present. What was said before fewer people than are present now is not recalled."""
    witnessed: bool = True
    """Whether what is said is kept in the memory of the others who are present too, of those who have one."""

    @property
    def others(self) -> frozenset[str]:
        """Everyone who is present besides the person."""
        return frozenset((*self.audience, self.speaker or self.user)) - {self.user}

    def __post_init__(self) -> None:
        for name in ("tenant", "user"):
            value = cast("object", getattr(self, name))
            if not isinstance(value, str):
                raise InputError(f"Identity.{name} is {value!r}.", hint="Give a text, or who=None for no memory.")
            if not value.strip():
                raise InputError(
                    f"Identity.{name} is empty.",
                    hint="Give a non-empty tenant and user, or who=None for a turn without memory.",
                )
            if len(value) > LONGEST_NAME or any(unicodedata.category(sign) in _NO_NAME for sign in value):
                raise InputError(
                    f"Identity.{name} is longer than {LONGEST_NAME} characters or holds control characters.",
                    hint="Use a short stable id, such as the key of the person in your own database.",
                )


class Effort(StrEnum):
    """How much thought a turn gets (docs/concepts.md, Effort)."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    AUTO = "auto"


class StreamMode(StrEnum):
    """When the text of a streamed reply leaves. Signs of danger make every turn `gated`."""

    SENTENCE = "sentence"
    """Each sentence once it has passed the code's gates; where a model judges, the last one after its verdict."""
    GATED = "gated"
    """All of it after the verdict."""
    LIVE = "live"
    """As it is written; the verdict comes after, and a vetted text follows a reply that failed it."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What a turn may cost. Past it, the best that is ready goes out."""

    calls: int
    """Model calls, scorings not counted."""
    depth: int
    """Calls that wait for one another."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What is known of the person and the setting, as they or the deployment stated it; nothing here is guessed."""

    cultures: tuple[str, ...] = ()
    """Cultures that the person calls their own, in their words, the nearest first."""
    charter: str = ""
    """The assistant's role: the name of a charter; empty for the deployment's own."""
    domain: str = ""
    """What the deployment is for, such as `health` or `workplace`."""
    formality: int | None = None
    """Tone of the reply, 1 (intimate) to 5 (formal); None leaves it to refinement."""
    minor: bool = False
    """Whether the person is known to be a minor."""

    def __post_init__(self) -> None:
        if len(self.cultures) > MOST_CULTURES:
            raise InputError(
                f"{len(self.cultures)} cultures are more than the {MOST_CULTURES} that a turn can take in.",
                hint="Give the nearest ones.",
            )
        for value in (*self.cultures, self.charter, self.domain):
            if len(value) > LONGEST_STATED or any(unicodedata.category(sign) in _NO_NAME for sign in value):
                raise InputError(
                    f"What is stated is longer than {LONGEST_STATED} characters or holds control characters.",
                    hint="Give short names, such as `Japanese`, `tutor` or `health`.",
                )
        if not all(culture.strip() for culture in self.cultures):
            raise InputError("A culture is empty.", hint="Give its name, or leave it out.")
        if self.formality is not None and not 1 <= self.formality <= 5:
            raise InputError(f"The formality {self.formality} is not 1 to 5.", hint="1 is intimate, 5 is formal.")


NOTHING_STATED = Circumstances()
"""Nothing is known of the person and the setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message to be answered, with the conversation before it."""

    id: str
    messages: tuple[Message, ...]
    """The whole conversation, the message to be answered last."""
    text: str
    """The text of the message to be answered."""
    at: datetime
    identity: Identity | None = None
    country: str | None = None
    """ISO 3166 alpha-2 code, as stated by the deployment or the person; never guessed."""
    circumstances: Circumstances = NOTHING_STATED
    """What is known of the person and the setting."""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further fields of the OpenAI request, for the call that writes."""


# --- norms and roles --------------------------------------------------------------------------------------


class RuleFamily(StrEnum):
    """MetaMind's three families of constraint rules (arXiv 2505.18943, §3.2)."""

    CULTURAL = "cultural"
    ETHICAL = "ethical"
    ROLE = "role"


class Situation(StrEnum):
    """What a conversation is about when a cultural norm matters."""

    GREETING = "greeting"
    """Greeting and address."""
    HIERARCHY = "hierarchy"
    """Age, rank and deference."""
    REFUSAL = "refusal"
    """Saying no, and indirect ways of saying anything."""
    HOSPITALITY = "hospitality"
    """Gifts, guests and hosts."""
    FAMILY = "family"
    """Family and marriage."""
    GRIEF = "grief"
    RELIGION = "religion"
    """Religion, and what may be eaten and drunk."""
    GENDER = "gender"
    MONEY = "money"
    PRIVACY = "privacy"
    PRAISE = "praise"
    """Praise, modesty and criticism."""
    TIME = "time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Culture:
    """A culture as people state it. It is never guessed from a name, a language or a place."""

    id: str
    name: str
    also: tuple[str, ...] = ()
    """Further words by which people state it, such as `Japanese`."""
    region: str
    lens: str = ""
    """The id of the lens that stands closest to it, or empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """A rule of conduct that refinement and planning can apply."""

    id: str
    family: RuleFamily
    statement: str
    applies: str
    """When it applies, in words; empty for always."""
    strength: float
    """How binding it is: 1 is a duty, .5 is expected, .25 is a courtesy."""
    hard: bool = False
    """Whether it vetoes instead of advising."""
    culture: str = ""
    """The id of the culture whose norm it is; empty for everybody's."""
    situation: Situation | None = None
    varies: str = ""
    """Who inside the culture sees it otherwise, or where it is changing; empty where that is not known."""
    role: str = ""
    """The id of the charter that it belongs to; empty for every role."""
    domain: str = ""
    """The domain that it belongs to, such as `health`; empty for every domain."""
    source: str
    """Title and address of a public source, or why there is none."""
    checked: bool = False
    """Whether the source was opened and says so."""
    words: tuple[str, ...] = ()
    """Words of a message that call for it, beside those of `applies`."""
    tags: tuple[str, ...] = ()
    """Terms of theory: Hofstede's dimensions, Brown and Levinson's politeness, Goffman's facework."""


@dataclass(frozen=True, slots=True)
class NormMatch:
    """A norm that bears on a message, and why it was picked."""

    norm: Norm
    relevance: float
    """Above 0; comparable within one message only."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Companionship:
    """What a companion owes the person it talks with (docs/companions.md). Hours are hours of talking."""

    disclose_at_start: bool = True
    """Whether it says at the start of a conversation that it is an AI."""
    disclose_every_hours: float | None = 3.0
    """And how often while that goes on; None for never."""
    remind_minors_every_hours: float | None = 3.0
    """How often a known minor is reminded to take a break."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleCharter:
    """What a deployment says that its assistant is, must do and must not do."""

    id: str
    role: str
    duties: tuple[str, ...]
    limits: tuple[str, ...]
    companionship: Companionship | None = None
    """What a companion owes; None where the deployment does it itself, or the assistant is none."""


class PerspectivesMode(StrEnum):
    """How a turn takes in several cultural perspectives (docs/perspectives.md)."""

    OFF = "off"
    CONTEXTUAL = "contextual"
    """Multiplex principles in what the writer is told; no further call."""
    AGENTS = "agents"
    """One agent for each lens, and a synthesiser."""
    AUTO = "auto"
    """Where the message asks for it: agents at `medium` and `high`, principles elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """A cultural perspective in its own terms. It stands for traditions of thought, and for no people."""

    id: str
    name: str
    traditions: tuple[str, ...]
    """Schools, texts and practices that it draws on."""
    questions: tuple[str, ...]
    """What it asks first about a question of value."""
    inside: str
    """Where those who draw on it disagree with one another."""
    references: tuple[str, ...] = ()
    """Words and phrases by which a text names it, for measuring."""
    source: str
    """Title and address of a public source, or why there is none."""


class Stance(StrEnum):
    """Where values stand to one another (after CLASH, arXiv 2504.10823)."""

    STRAIGHTFORWARD = "straightforward"
    """They agree, or only one bears on it."""
    CONTRAST = "contrast"
    """One speaks for and another against."""
    SWAYED = "swayed"
    """They conflict, and circumstances push to one side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LensNote:
    """How one lens sees the matter, in at most 120 words."""

    lens: str
    """The lens' id."""
    reading: str
    norm: str = ""
    """What it holds to be right here."""
    tension: str = ""
    """Where it is at odds with other lenses, or with itself."""
    confidence: float
    sources: tuple[str, ...] = ()
    """Traditions or texts that it names, as the model gave them: leads, and no citations that were checked."""


@dataclass(frozen=True, slots=True)
class Position:
    """What some lenses hold."""

    lenses: tuple[str, ...]
    holds: str


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A point on which lenses differ. It is kept, and not settled."""

    about: str
    positions: tuple[Position, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiplex:
    """Several perspectives side by side (Multiplexity, arXiv 2501.03259)."""

    relevant: bool
    """Whether they have something to say to this message; False leaves them out of the reply."""
    notes: tuple[LensNote, ...] = ()
    """The lens nearest to the person's stated culture first."""
    agreements: tuple[str, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    stance: Stance = Stance.STRAIGHTFORWARD
    synthesis: str = ""
    """All of it in a few sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueCue:
    """Why perspectives were looked at."""

    kind: Literal["value question", "cultural cue", "declared conflict", "asked"]
    words: str
    """The words of the message that say so; empty where the deployment asked for it."""


class NormVerdict(StrEnum):
    """Delphi's three classes (arXiv 2110.07574)."""

    BAD = "bad"
    NEUTRAL = "neutral"
    GOOD = "good"


@dataclass(frozen=True, slots=True, kw_only=True)
class NormJudgement:
    """How an act in the message looks by the norms that apply. It annotates; only hard norms veto."""

    act: str
    verdict: NormVerdict
    """After the check: `neutral` where act and negation were judged alike, `bad` where a hard norm forbids it."""
    negation: str
    """The same act, not done."""
    negation_verdict: NormVerdict
    consistent: bool
    """Whether the verdict flips with the act: not both good, not both bad."""
    norms: tuple[str, ...] = ()
    """Ids of the norms that it rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NormUse:
    """A norm that applied to a turn, and what it did."""

    norm: Norm
    reason: str
    """Why it was picked."""
    changed: tuple[str, ...] = ()
    """Ids of the hypotheses that refinement changed for its sake."""
    in_plan: bool = False
    """Whether the reply was told to keep it."""
    broken: int = 0
    """Drafts that were turned down for breaking it."""


# --- memory -----------------------------------------------------------------------------------------------


class MemoryKind(StrEnum):
    """What sort of thing is remembered (docs/memory.md)."""

    TURN = "turn"
    DAY_SUMMARY = "day_summary"
    SUMMARY = "summary"
    DAY_PORTRAIT = "day_portrait"
    PORTRAIT = "portrait"
    FACT = "fact"
    PREFERENCE = "preference"
    EMOTION_PATTERN = "emotion_pattern"
    INFERENCE = "inference"
    FEEDBACK = "feedback"
    SCENARIO = "scenario"
    SAFETY_NOTE = "safety_note"


class MemoryStatus(StrEnum):
    """How sure a memory is. What the person said is confirmed; what was guessed is not."""

    UNCONFIRMED = "unconfirmed"
    CONFIRMED = "confirmed"
    REFUTED = "refuted"


class MemoryMode(StrEnum):
    """What a turn may do with memory."""

    ON = "on"
    READ_ONLY = "read-only"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One thing remembered about, or said with, one person."""

    id: str
    kind: MemoryKind
    text: str
    """In the speaker's own language."""
    observed_at: datetime
    """When it was said or happened; aware."""
    status: MemoryStatus = MemoryStatus.CONFIRMED
    speaker: str = ""
    """Who said it: the person's name or id, `assistant`, or empty for what was made from other memories."""
    session: str = ""
    quote: str = ""
    """The person's own words that it rests on, as they occur in its sources."""
    strength: int = 1
    """S: 1 at first, one more whenever a reply used it, 20 at most."""
    importance: float = 0.5
    """In [0, 1]; computed in code from the text and the kind."""
    confidence: float | None = None
    """Of an inference, in [0, 1]."""
    recorded_at: datetime | None = None
    """When the store wrote it; set by the store."""
    last_recalled_at: datetime | None = None
    """When a reply last used it."""
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    """When a newer fact took its place."""
    expires_at: datetime | None = None
    """When an unconfirmed inference lapses."""
    superseded_by: str | None = None
    sources: tuple[str, ...] = ()
    """Ids of the memories it was made from."""
    audience: tuple[str, ...] = ()
    """Who else was present when it was said; empty for the person alone."""
    pinned: bool = False
    """Whether it never fades."""
    archived: bool = False
    """Whether it has faded: search finds it, and a turn recalls it on a strong cue only."""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further plain values by kind, such as `day`, `emotion`, `state`, `content_hash`, `subject`, `role`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryHit:
    """One remembered thing and why it was recalled."""

    memory: Memory
    score: float
    why: Mapping[str, float] = field(default_factory=dict[str, float])
    """Each part of the score by name."""
    reason: str = ""
    """The same in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recollection:
    """What memory brings to a turn."""

    hits: tuple[MemoryHit, ...] = ()
    """Best first."""
    neighbours: Mapping[str, tuple[Memory, ...]] = field(default_factory=dict[str, "tuple[Memory, ...]"])
    """Turns said around a hit, by the hit's id, in the order they were said."""
    portrait: Memory | None = None
    """The portrait of the person over all days, with a strategy for replies."""
    summary: Memory | None = None
    """What has happened over all days."""
    tokens: int = 0
    """About how many tokens all of it takes in a prompt."""


class Store(Protocol):
    """Where a turn's memories come from. Tenant and user come with every call, inside `Identity`."""

    async def recall(self, who: Identity, text: str, *, at: datetime, limit: int) -> Recollection:
        """The memories of this person that matter to `text`."""
        ...


class Embedder(Protocol):
    """What makes vectors of texts."""

    @property
    def name(self) -> str:
        """Its identity: equal names make comparable vectors, and any change of model or preparation changes it."""
        ...

    @property
    def dimensions(self) -> int:
        """The length of a vector."""
        ...

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        """One vector of length 1 for each text, as rows of a matrix of shape (len(texts), dimensions).

        Args:
            texts: What to embed; long texts are cut.
            query: Whether they are questions to memory, which some models want marked.

        Raises:
            EmbedderError: the model cannot be loaded or gave no vectors.
        """
        ...

    async def close(self) -> None:
        """Release what it holds."""
        ...


# --- what the stages make ---------------------------------------------------------------------------------


class RiskKind(StrEnum):
    """What a message may be a sign of."""

    SELF_HARM = "self_harm"
    ABUSE = "abuse"
    VIOLENCE = "violence"
    EMERGENCY = "emergency"


@dataclass(frozen=True, slots=True)
class RiskSign:
    """Words that speak of danger, and who noticed them."""

    kind: RiskKind
    words: str
    """The person's own words."""
    by: Literal["lexicon", "perception"]
    language: str = ""
    """The lexicon's language (BCP 47), if the lexicon noticed."""


class MentalState(StrEnum):
    """MetaMind's typology T of mental states (arXiv 2505.18943, §3.1)."""

    BELIEF = "Belief"
    DESIRE = "Desire"
    INTENTION = "Intention"
    EMOTION = "Emotion"
    THOUGHT = "Thought"


@dataclass(frozen=True, slots=True)
class Emotion:
    """A named emotion and how strong it seems."""

    name: str
    intensity: float


@dataclass(frozen=True, slots=True)
class HopReading:
    """Implicit sentiment in three hops (RVISA, arXiv 2407.02340): aspect, opinion, polarity."""

    aspect: str
    opinion: str
    polarity: Literal["positive", "negative", "neutral"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Perception:
    """What the message shows."""

    emotion: Emotion
    shortlist: tuple[str, ...] = ()
    """Candidate emotions of the first of HEF's two stages (arXiv 2402.11801)."""
    cause: str = ""
    words: tuple[str, ...] = ()
    """The person's own words that show the emotion; each occurs in the message."""
    sentiment: HopReading | None = None
    need: str = ""
    flaw: str = ""
    """A silent flaw in the request, or a missing piece worth asking about; empty for none."""
    value_question: bool = False
    risk: tuple[RiskSign, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a hypothesis rests on."""

    words: str
    """A quote from the person's own words; empty when none was found in the message."""
    context: str = ""
    memory: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """A guess about what the person has on their mind but did not say."""

    id: str
    state: MentalState
    explanation: str
    evidence: Evidence
    confidence: float


@dataclass(frozen=True, slots=True)
class ForeseenAct:
    """What a party is likely to do next (FaR, arXiv 2310.03051)."""

    party: str
    act: str
    obstacle: str
    help: str


@dataclass(frozen=True, slots=True)
class Foresight:
    """What may come next, for each party."""

    acts: tuple[ForeseenAct, ...] = ()


@dataclass(frozen=True, slots=True)
class ModificationStep:
    """One entry of refinement's modification log: which norm changed what."""

    norm: str
    """The id of the norm that was applied."""
    element: str
    """The element of the hypothesis that the norm constrains."""
    transformation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinedHypothesis:
    """A hypothesis after the norms were applied to it."""

    hypothesis: Hypothesis
    text: str
    log: tuple[ModificationStep, ...] = ()
    formality: int = 3
    """Tone, 1 (intimate) to 5 (formal)."""
    residual_risk: float = 0.0
    """How much of a norm's concern remains, in [0, 1]."""
    p_cond: float = 0.5
    """Plausibility given the conversation and memory."""

    @property
    def changed(self) -> bool:
        """Whether refinement changed the words."""
        return self.text.strip() != self.hypothesis.explanation.strip()


@dataclass(frozen=True, slots=True)
class Refinement:
    """What refinement made of the hypotheses, and how the norms judge the act that the message is about."""

    hypotheses: tuple[RefinedHypothesis, ...]
    judgement: NormJudgement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HypothesisScore:
    """A refined hypothesis and the numbers that Algorithm 1 gives it."""

    refined: RefinedHypothesis
    p_prior: float
    information_gain: float
    """`bounded`: in [-1, 1]; `paper`: ln(P_cond + ε) − ln(P_prior + ε), unbounded."""
    score: float
    eligible: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Every hypothesis with its score, best first, and the chosen one."""

    ranked: tuple[HypothesisScore, ...]
    chosen: HypothesisScore | None
    mode: Literal["bounded", "paper"]
    diversity: float = 0.0
    """Distinct mental-state types over the types that k hypotheses could cover, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the reply is to do, decided in code."""

    act: str
    """Speech act, such as `acknowledge` or `inform`."""
    tone: str
    formality: int = 3
    understanding: str = ""
    """The chosen reading of the person, in words, or empty."""
    anchors: tuple[str, ...] = ()
    """At most three memories to lean on."""
    must: tuple[str, ...] = ()
    must_not: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    """What may help, by foresight: guesses, and no instructions."""
    ask: str = ""
    """A question worth asking, or empty."""
    norms: tuple[str, ...] = ()
    """What is usual in the culture that the person stated, which may or may not hold for them."""
    perspectives: tuple[str, ...] = ()
    """How several traditions see it, one line for each point; guesses, and no instructions."""
    multiplex: bool = False
    """Whether the reply is to set out several perspectives without ranking them."""
    open: bool = False
    """Whether values truly conflict, so that no side may be recommended."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of several texts that could be the reply."""

    text: str
    origin: str
    """`writer`, or `form:<id>` for a vetted reflective form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A reply that was written and not yet sent."""

    text: str
    origin: str = "writer"
    """`writer`, `form:<id>` for a vetted reflective form, `referral` and `fallback` for a vetted text, `plain` for
    what the model said without guidance, `cut short` for a reply that ended before a sentence that failed a gate."""
    candidates: tuple[Candidate, ...] = ()
    """All sound candidates, when there were several."""
    revision: int = 0
    finish_reason: str = "stop"
    """Why the model stopped writing, as the endpoint said."""
    usage: Usage | None = None
    """Tokens of the call that wrote it; None where the endpoint did not say, or nobody was asked."""
    message: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The assistant message as the endpoint sent it, when the reply is that message unchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The validator's and the gates' judgement of a draft (arXiv 2505.18943, §3.3)."""

    a1: float | None = None
    """Affective alignment."""
    a2: float | None = None
    """Cognitive resonance."""
    b1: float | None = None
    """Contextual continuity."""
    b2: float | None = None
    """Congruence with the chosen hypothesis."""
    empathy: float | None = None
    coherence: float | None = None
    utility: float | None = None
    """U = β·Empathy + (1−β)·Coherence, computed in code; None when no judge answered."""
    acceptable: bool = True
    """Whether U reached the threshold, or no judge answered."""
    gates: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """Each safety gate by name; False is a veto."""
    critique: str = ""

    @property
    def safe(self) -> bool:
        """Whether every gate was passed."""
        return all(self.gates.values())


# --- the trace --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more calls."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens that the endpoint took from its own prefix cache, where it says so."""

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One request to a model."""

    purpose: str
    role: Literal["reason", "judge", "write"]
    model: str
    scoring: bool
    """Whether it was a one-token choice, which is counted apart from calls."""
    depth: int
    """1 + the number of calls that it had to wait for."""
    started: float
    """Seconds since the turn began."""
    seconds: float
    usage: Usage = Usage()
    cached: bool = False
    structured: str | None = None
    """The structured-output mode in force, if the answer was to be JSON."""
    error: str | None = None
    prompts: tuple[str, ...] = ()
    """The prompts it was made from, each as `id@version#digest`."""
    messages: tuple[Message, ...] = ()
    """The messages as they were sent."""
    answer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecord:
    """One stage of a turn: when it ran, and why it left its part out, if it did."""

    name: str
    started: float
    """Seconds since the turn began."""
    seconds: float
    error: str | None = None
    found: str = ""
    """What it found, in a line."""


@dataclass(frozen=True, slots=True)
class StructuredCounts:
    """How structured answers went in a turn."""

    answers: int = 0
    repaired: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Everything that happened in one turn. `mentalize schema` prints its JSON schema."""

    version: Literal[1] = 1
    turn_id: str
    at: datetime
    effort: Effort
    """What ran."""
    requested_effort: Effort
    route: str
    """Why this effort: `asked`, or the router's reason."""
    text: str
    perception: Perception | None = None
    recollection: Recollection | None = None
    hypotheses: tuple[Hypothesis, ...] = ()
    foresight: Foresight | None = None
    selection: Selection | None = None
    judgement: NormJudgement | None = None
    circumstances: Circumstances = NOTHING_STATED
    norms: tuple[NormUse, ...] = ()
    """The norms that applied, and what each did."""
    perspectives: PerspectivesMode = PerspectivesMode.OFF
    """What ran: off, contextual or agents."""
    cue: ValueCue | None = None
    """Why perspectives were looked at."""
    multiplex: Multiplex | None = None
    plan: Plan | None = None
    drafts: tuple[Draft, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    """One for each draft, in order."""
    risk: tuple[RiskSign, ...] = ()
    reply: str = ""
    reply_origin: str = "writer"
    written_ahead: bool | None = None
    """Whether the reply that was begun before selection was kept; None where none was. What is not kept was spent in
    vain: the request with the purpose `write.ahead`.
    """
    revisions: int = 0
    contract: Contract
    calls: int = 0
    scorings: int = 0
    depth: int = 0
    seconds: float = 0.0
    usage: Usage = Usage()
    structured: StructuredCounts = StructuredCounts()
    stages: tuple[StageRecord, ...] = ()
    requests: tuple[CallRecord, ...] = ()
    prompts: tuple[str, ...] = ()
    """The prompts that were used, each as `id@version#digest`."""
    failures: tuple[str, ...] = ()
    """What was left out and why, in plain words."""
