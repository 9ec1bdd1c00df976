"""Team: every agent of a turn, bound to the models that play its roles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ..agents.brief_reader import BriefReader, BriefReadInputs
from ..agents.brief_rememberer import BriefRememberer, BriefRememberInputs
from ..agents.chooser import Chooser, PreferInputs
from ..agents.feeling_scorer import FeelingInputs, FeelingScorer
from ..agents.foreseer import ForeseeInputs, Foreseer
from ..agents.hypothesizer import HypothesiseInputs, Hypothesizer
from ..agents.known import CacheCounts, Known
from ..agents.likelihood_scorer import LikelihoodScorer
from ..agents.multiple_choice import ConsiderateInputs, ItemInputs
from ..agents.perceiver import PerceiveInputs, Perceiver
from ..agents.perspective import TOKENS as NOTE
from ..agents.perspective import LensInputs, Perspective
from ..agents.planner import Act
from ..agents.plausibility_scorer import PlausibilityScorer, PlausibleInputs
from ..agents.portraitist import Portraitist, PortrayInputs
from ..agents.prior_rater import PriorInputs, PriorRater
from ..agents.question import (
    SHORT_CONVERSATION,
    BriefPreambleInputs,
    Framing,
    PlainPreambleInputs,
    PreambleInputs,
    StatedInputs,
)
from ..agents.reader import Reader, ReadInputs
from ..agents.reference_extractor import ReferencesInputs
from ..agents.refiner import RefineInputs, Refiner
from ..agents.rememberer import Rememberer, RememberInputs
from ..agents.rubric_scorer import RubricInputs, RubricScorer
from ..agents.safety_gate import GateInputs, SafetyGate
from ..agents.summarizer import SummariseInputs, Summarizer
from ..agents.synthesizer import SynthesisInputs, Synthesizer
from ..agents.validator import ValidateInputs, Validator
from ..agents.writer import (
    BriefGuidance,
    BriefWriteInputs,
    CompanionInputs,
    Guidance,
    Persona,
    PrinciplesInputs,
    SetOutInputs,
    WriteInputs,
    Writer,
)
from ..llm.budget import Budget, BudgetedModel
from ..llm.model import Model
from ..llm.stamped import StampedModel
from ..llm.traced import Ledger, RoleName, TracedModel
from ..prompts.format import bullets, one_line
from ..prompts.library import Library
from ..prompts.prompt import Prompt, fence
from ..safety.echoes import Echoes, echoes_of
from ..types import NOTHING_STATED, Circumstances, Identity, Lens, LensNote, Norm, RoleCharter, system


@dataclass(frozen=True, slots=True)
class Roles:
    """Which model plays which role."""

    reason: Model
    judge: Model
    write: Model

    def for_turn(self, ledger: Ledger, budget: Budget, *, conversation: str = "", background: bool = False) -> Roles:
        """The same models, traced and held to one turn's contract.

        Args:
            ledger: Where each request is written down.
            budget: The contract.
            conversation: What the turn belongs to; see `Request.conversation`.
            background: Whether nobody waits for the answers.
        """

        def bound(model: Model, role: RoleName) -> Model:
            stamped = StampedModel(model, conversation=conversation, background=background)
            return BudgetedModel(TracedModel(stamped, role, ledger), budget, ledger.next_depth)

        return Roles(bound(self.reason, "reason"), bound(self.judge, "judge"), bound(self.write, "write"))


def conversation_of(who: Identity | None) -> str:
    """What a person's requests belong to, in all their sessions; empty where nobody is named."""
    return f"{who.tenant}\0{who.user}" if who else ""


@dataclass(frozen=True, slots=True)
class BriefPersonaInputs:
    """What the persona of a small model is filled with."""

    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Every prompt that a team uses, each checked against the dataclass that fills it."""

    preamble: Prompt[PreambleInputs]
    preamble_brief: Prompt[BriefPreambleInputs]
    preamble_lens: Prompt[PlainPreambleInputs]
    stated: Prompt[StatedInputs]
    persona: Prompt[PreambleInputs]
    persona_brief: Prompt[BriefPersonaInputs]
    companion: Prompt[CompanionInputs]
    perceive: Prompt[PerceiveInputs]
    hypothesise: Prompt[HypothesiseInputs]
    foresee: Prompt[ForeseeInputs]
    refine: Prompt[RefineInputs]
    prior: Prompt[PriorInputs]
    read: Prompt[ReadInputs]
    read_brief: Prompt[BriefReadInputs]
    write: Prompt[WriteInputs]
    write_brief: Prompt[BriefWriteInputs]
    set_out_brief: Prompt[SetOutInputs]
    principles: Prompt[PrinciplesInputs]
    principles_brief: Prompt[PrinciplesInputs]
    perspective: Prompt[LensInputs]
    perspective_brief: Prompt[LensInputs]
    synthesise: Prompt[SynthesisInputs]
    synthesise_brief: Prompt[SynthesisInputs]
    references: Prompt[ReferencesInputs]
    item_letter: Prompt[ItemInputs]
    item_choice: Prompt[ItemInputs]
    considerate: Prompt[ConsiderateInputs]
    validate: Prompt[ValidateInputs]
    gate: Prompt[GateInputs]
    plausible: Prompt[PlausibleInputs]
    usual: Prompt[PlausibleInputs]
    likely: Prompt[PlainPreambleInputs]
    feeling: Prompt[FeelingInputs]
    prefer: Prompt[PreferInputs]
    rubric_a1: Prompt[RubricInputs]
    rubric_a2: Prompt[RubricInputs]
    rubric_b1: Prompt[RubricInputs]
    rubric_b2: Prompt[RubricInputs]
    notes: Prompt[PlainPreambleInputs]
    remember: Prompt[RememberInputs]
    remember_brief: Prompt[BriefRememberInputs]
    summarise: Prompt[SummariseInputs]
    portray: Prompt[PortrayInputs]
    portray_brief: Prompt[PortrayInputs]

    @classmethod
    def from_library(cls, library: Library) -> Prompts:
        """Read and check all of them.

        Raises:
            PromptError: one does not fit.
        """
        return cls(
            preamble=library.get("preamble", PreambleInputs),
            preamble_brief=library.get("preamble_brief", BriefPreambleInputs),
            preamble_lens=library.get("preamble_lens", PlainPreambleInputs),
            stated=library.get("stated", StatedInputs),
            persona=library.get("persona", PreambleInputs),
            persona_brief=library.get("persona_brief", BriefPersonaInputs),
            companion=library.get("companion", CompanionInputs),
            perceive=library.get("perceive", PerceiveInputs),
            hypothesise=library.get("hypothesise", HypothesiseInputs),
            foresee=library.get("foresee", ForeseeInputs),
            refine=library.get("refine", RefineInputs),
            prior=library.get("prior", PriorInputs),
            read=library.get("read", ReadInputs),
            read_brief=library.get("read_brief", BriefReadInputs),
            write=library.get("write", WriteInputs),
            write_brief=library.get("write_brief", BriefWriteInputs),
            set_out_brief=library.get("set_out_brief", SetOutInputs),
            principles=library.get("principles", PrinciplesInputs),
            principles_brief=library.get("principles_brief", PrinciplesInputs),
            perspective=library.get("perspective", LensInputs),
            perspective_brief=library.get("perspective_brief", LensInputs),
            synthesise=library.get("synthesise", SynthesisInputs),
            synthesise_brief=library.get("synthesise_brief", SynthesisInputs),
            references=library.get("references", ReferencesInputs),
            item_letter=library.get("item_letter", ItemInputs),
            item_choice=library.get("item_choice", ItemInputs),
            considerate=library.get("considerate", ConsiderateInputs),
            validate=library.get("validate", ValidateInputs),
            gate=library.get("gate", GateInputs),
            plausible=library.get("plausible", PlausibleInputs),
            usual=library.get("usual", PlausibleInputs),
            likely=library.get("likely", PlainPreambleInputs),
            feeling=library.get("feeling", FeelingInputs),
            prefer=library.get("prefer", PreferInputs),
            rubric_a1=library.get("rubric_a1", RubricInputs),
            rubric_a2=library.get("rubric_a2", RubricInputs),
            rubric_b1=library.get("rubric_b1", RubricInputs),
            rubric_b2=library.get("rubric_b2", RubricInputs),
            notes=library.get("notes", PlainPreambleInputs),
            remember=library.get("remember", RememberInputs),
            remember_brief=library.get("remember_brief", BriefRememberInputs),
            summarise=library.get("summarise", SummariseInputs),
            portray=library.get("portray", PortrayInputs),
            portray_brief=library.get("portray_brief", PortrayInputs),
        )

    def texts(self) -> tuple[str, ...]:
        """The words of all of them, holes unfilled."""
        prompts: Iterator[Prompt[Any]] = (getattr(self, field.name) for field in fields(self))
        return tuple(prompt.file.text for prompt in prompts)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Caches:
    """What agents need not be asked again, of all turns of a mind."""

    priors: Known[float] = field(default_factory=lambda: Known[float]("priors"))
    """P_prior of hypotheses, apart for each person: how soon a turn is over would tell others what it was about."""
    lens_notes: Known[LensNote] = field(default_factory=lambda: Known[LensNote]("lens notes"))
    """What lenses said to a question, apart for each person."""

    @property
    def counts(self) -> tuple[CacheCounts, ...]:
        """How each has done."""
        return self.priors.counts, self.lens_notes.counts

    def forget(self) -> None:
        """Drop everything, because somebody is forgotten."""
        self.priors.forget()
        self.lens_notes.forget()


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """The agents."""

    perceiver: Perceiver
    hypothesizer: Hypothesizer
    foreseer: Foreseer
    refiner: Refiner
    prior_rater: PriorRater
    reader: Reader | BriefReader
    perspectives: tuple[Perspective, ...]
    """One for each lens that is asked, the one nearest to the person's stated culture first."""
    synthesizer: Synthesizer
    even_handed: tuple[Norm, ...]
    """The norms of a reply that sets out several traditions."""
    guidance: Guidance
    """How a plan is put to a chatbot of the caller's own, whatever model thinks here."""
    writer: Writer
    validator: Validator
    safety_gate: SafetyGate
    plausibility_scorer: PlausibilityScorer
    likelihood_scorer: LikelihoodScorer
    feeling_scorer: FeelingScorer
    rubric_scorer: RubricScorer
    chooser: Chooser
    echoes: Echoes
    """What its models are told, for the gate on replies that repeat it."""

    @property
    def lens_names(self) -> Mapping[str, str]:
        """What each lens is called, by id."""
        return {speak.lens.id: speak.lens.name for speak in self.perspectives}


BRIEF_HYPOTHESES = 3
"""k where one call does all the reading."""

SHORT_REPLY = 44
"""Tokens of a candidate under the choosing strategy."""

SET_OUT_REPLY = 260
"""Tokens of a small model's reply that sets out several traditions."""

BRIEF_NOTE = 90
"""Tokens of a small model's note."""


def assemble(
    roles: Roles,
    prompts: Prompts,
    charter: RoleCharter,
    *,
    hypotheses: int,
    choosing: bool,
    scope: tuple[str, ...],
    zone: str = "UTC",
    circumstances: Circumstances = NOTHING_STATED,
    lenses: Sequence[Lens] = (),
    traditions: tuple[str, ...] = (),
    even_handed: tuple[Norm, ...] = (),
    caches: Caches | None = None,
) -> Team:
    """The agents for one turn; under the choosing strategy with the prompts for a small model.

    Args:
        roles: Which model plays which role.
        prompts: What they are asked.
        charter: The deployment's role, duties and limits.
        hypotheses: k.
        choosing: Whether the choosing strategy is on.
        scope: Whose turn it is: nobody else's cached answers are used, and nobody else gets this turn's.
        zone: IANA zone of the person.
        circumstances: What is stated about the person and the setting.
        lenses: Those that are asked, in order.
        traditions: Those that a writer is told of where no lens is asked.
        even_handed: The norms of a reply that sets out several traditions.
        caches: What need not be asked again; None for nobody in particular, who gets nothing that others were told.
    """
    stated = _stated(prompts.stated, circumstances)
    reason, judge = roles.reason, roles.judge
    read: Reader | BriefReader
    full = Guidance(prompts.write, prompts.principles, traditions)
    if choosing:
        count = min(hypotheses, BRIEF_HYPOTHESES)
        framing = Framing.brief(prompts.preamble_brief, charter, scope=scope, count=count)
        persona = Persona(
            system(prompts.persona_brief.render(BriefPersonaInputs(charter.role))), prompts.persona_brief.id
        )
        about_values = Framing.plain(
            prompts.preamble_lens, longest=SHORT_CONVERSATION, scope=scope, zone=zone, stated=stated
        )
        read = BriefReader(model=reason, framing=framing, prompt=prompts.read_brief)
        guidance = BriefGuidance(prompts.write_brief, prompts.set_out_brief, prompts.principles_brief, traditions)
    else:
        framing = about_values = Framing.full(prompts.preamble, charter, scope=scope, zone=zone, stated=stated)
        inputs = PreambleInputs(charter.role, bullets(charter.duties), bullets(charter.limits))
        persona = Persona(system(prompts.persona.render(inputs)), prompts.persona.id)
        read = Reader(model=reason, framing=framing, prompt=prompts.read, count=min(hypotheses, BRIEF_HYPOTHESES))
        guidance = full
    return Team(
        perceiver=Perceiver(model=reason, framing=framing, prompt=prompts.perceive),
        hypothesizer=Hypothesizer(model=reason, framing=framing, prompt=prompts.hypothesise, count=hypotheses),
        foreseer=Foreseer(model=reason, framing=framing, prompt=prompts.foresee),
        refiner=Refiner(model=reason, framing=framing, prompt=prompts.refine),
        prior_rater=PriorRater(
            model=reason,
            framing=framing,
            prompt=prompts.prior,
            known=caches.priors if caches else None,
        ),
        reader=read,
        perspectives=tuple(
            Perspective(
                model=reason,
                framing=about_values,
                prompt=prompts.perspective_brief if choosing else prompts.perspective,
                lens=lens,
                brief=choosing,
                max_tokens=BRIEF_NOTE if choosing else NOTE,
                known=caches.lens_notes if caches else None,
            )
            for lens in lenses
        ),
        synthesizer=Synthesizer(
            model=reason,
            framing=about_values,
            prompt=prompts.synthesise_brief if choosing else prompts.synthesise,
            lenses=tuple(lenses),
            brief=choosing,
        ),
        even_handed=even_handed,
        guidance=full,
        writer=Writer(
            model=roles.write,
            persona=persona,
            guidance=guidance,
            max_tokens=SHORT_REPLY if choosing else None,
            set_out_tokens=SET_OUT_REPLY if choosing else None,
        ),
        validator=Validator(model=judge, framing=framing, prompt=prompts.validate),
        safety_gate=SafetyGate(model=judge, framing=framing, prompt=prompts.gate),
        plausibility_scorer=PlausibilityScorer(
            model=judge, framing=framing, plausible=prompts.plausible, usual=prompts.usual
        ),
        likelihood_scorer=LikelihoodScorer(model=reason, framing=framing, prompt=prompts.likely),
        feeling_scorer=FeelingScorer(model=reason, framing=framing, prompt=prompts.feeling),
        rubric_scorer=RubricScorer(
            model=judge,
            framing=framing,
            a1=prompts.rubric_a1,
            a2=prompts.rubric_a2,
            b1=prompts.rubric_b1,
            b2=prompts.rubric_b2,
        ),
        chooser=Chooser(model=judge, framing=framing, prompt=prompts.prefer),
        echoes=echoes_of((*prompts.texts(), *Act), (charter.role, *charter.duties, *charter.limits)),
    )


def _stated(prompt: Prompt[StatedInputs], circumstances: Circumstances) -> str:
    """What is stated about the person and the setting, as data; empty where nothing is."""
    if not (circumstances.cultures or circumstances.domain):
        return ""
    cultures = "; ".join(map(one_line, circumstances.cultures))
    return prompt.render(
        StatedInputs(
            cultures=f"Cultures that the person calls their own:\n{fence('stated', cultures)}" if cultures else "",
            domain=f"Domain:\n{fence('stated', one_line(circumstances.domain))}" if circumstances.domain else "",
        )
    )


# --- after the reply --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteTakers:
    """The agents that work after the reply."""

    rememberer: Rememberer | BriefRememberer
    summarizer: Summarizer
    portraitist: Portraitist
    longest: int
    """Characters of material that one question may show."""
    grounded: float
    """Share of a summary's or portrait's content words that must occur in the material; a small model invents."""


_MATERIAL = 12_000
_BRIEF_MATERIAL = 3_000
_BRIEF_WORDS = 50
_BRIEF_TOKENS = 160
_BRIEF_GROUNDED = 0.5


def note_takers(model: Model, prompts: Prompts, *, brief: bool, zone: str) -> NoteTakers:
    """The agents that take notes about one person; `brief` with the prompts and limits for a small model."""
    longest = _BRIEF_MATERIAL if brief else _MATERIAL
    framing = Framing.plain(prompts.notes, longest=longest, zone=zone)
    if brief:
        return NoteTakers(
            rememberer=BriefRememberer(model=model, framing=framing, prompt=prompts.remember_brief),
            summarizer=Summarizer(
                model=model, framing=framing, prompt=prompts.summarise, words=_BRIEF_WORDS, max_tokens=_BRIEF_TOKENS
            ),
            portraitist=Portraitist(
                model=model, framing=framing, prompt=prompts.portray_brief, words=_BRIEF_WORDS, max_tokens=_BRIEF_TOKENS
            ),
            longest=longest,
            grounded=_BRIEF_GROUNDED,
        )
    return NoteTakers(
        rememberer=Rememberer(model=model, framing=framing, prompt=prompts.remember),
        summarizer=Summarizer(model=model, framing=framing, prompt=prompts.summarise),
        portraitist=Portraitist(model=model, framing=framing, prompt=prompts.portray),
        longest=longest,
        grounded=0.0,
    )
