"""A script that plays every agent of a turn, for tests of what code does with the answers."""

from __future__ import annotations

from typing import Any

MESSAGE = "I'm fine. Go without me, really."


def hypothesis(
    kind: str, explanation: str, *, words: str = "Go without me", confidence: str = "high"
) -> dict[str, Any]:
    return {
        "type": kind,
        "explanation": explanation,
        "words": words,
        "context": "",
        "memory": "",
        "confidence": confidence,
    }


def refined(name: str, text: str, plausibility: str, *, log: list[dict[str, str]] | None = None) -> dict[str, Any]:
    return {
        "id": name,
        "text": text,
        "log": log or [],
        "formality": 2,
        "residual_risk": "none",
        "plausibility": plausibility,
    }


PERCEPTION = {
    "shortlist": ["hurt", "tired"],
    "emotion": "Hurt",
    "intensity": "mid",
    "words": ["I'm fine", "words never said"],
    "cause": "being left out",
    "aspect": "the outing",
    "opinion": "they would rather be asked again",
    "polarity": "negative",
    "need": "to be wanted there",
    "flaw": "",
    "value_question": False,
    "risk": [],
}
HYPOTHESES = {
    "readings": [{"trigger": "really", "motive": "pride", "reading": "wants to be asked", "context": "an outing"}],
    "memory": [],
    "typology": {"primary": "Desire", "confidence": 70, "rationale": "They push away.", "secondary": ["Emotion"]},
    "hypotheses": [
        hypothesis("Desire", "The person wants to be asked again."),
        hypothesis("Emotion", "The person feels left out."),
        hypothesis("Belief", "The person thinks they are a burden.", words="invented words"),
    ],
}
FORESIGHT = {"acts": [{"party": "the person", "act": "withdraw", "obstacle": "pride", "help": "Say they are welcome."}]}
REFINEMENT: dict[str, Any] = {
    "refined": [
        refined("h1", "The person wants to be asked again.", "high"),
        refined("h2", "The person feels left out.", "mid"),
        refined("h3", "The person thinks they are a burden.", "low"),
    ]
}
JUDGEMENT = {
    "act": "Staying behind while the others go.",
    "verdict": "neutral",
    "negation": "Going along with the others.",
    "negation_verdict": "good",
    "norms": ["role.respect_refusal"],
}
REFINEMENT["judgement"] = JUDGEMENT
PRIORS = {
    "priors": [
        {"id": "h1", "plausibility": "low"},
        {"id": "h2", "plausibility": "mid"},
        {"id": "h3", "plausibility": "very low"},
    ]
}
READING = {
    "emotion": "Hurt",
    "intensity": "mid",
    "words": "I'm fine",
    "cause": "being left out",
    "need": "to be wanted",
    "flaw": "",
    "risk": "none",
    "hypotheses": [
        {
            "type": "Desire",
            "explanation": "The person wants to be asked again.",
            "words": "really",
            "plausibility": "high",
            "usual": "low",
        },
        {
            "type": "Emotion",
            "explanation": "The person feels left out.",
            "words": "Go without me",
            "plausibility": "mid",
            "usual": "mid",
        },
    ],
}
GOOD = {"a1": "very high", "a2": "very high", "b1": "very high", "b2": "very high", "critique": ""}
POOR = {"a1": "low", "a2": "low", "b1": "high", "b2": "mid", "critique": "It answers the words and not the person."}
SAFE = {
    "confirms_harm": False,
    "enables_harm": False,
    "withholds_help": False,
    "claims_to_be_human": False,
    "manipulates": False,
    "crosses_boundary": False,
    "broken_rules": [],
    "critique": "",
}
WARM = "We would love to have you there. Shall we wait for you?"


def fact(
    quote: str, text: str = "", *, kind: str = "fact", subject: str = "self", replaces: str = ""
) -> dict[str, Any]:
    return {"quote": quote, "text": text or quote, "kind": kind, "subject": subject, "replaces": replaces}


NOTHING: dict[str, Any] = {"facts": [], "emotion": "", "emotion_quote": "", "confirms": [], "contradicts": []}


def told(*facts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What the Rememberer finds in a message."""
    return {**NOTHING, "facts": list(facts), **more}


def note(
    reading: str, *, norm: str = "Care for those who depend on you.", tension: str = "", **more: Any
) -> dict[str, Any]:
    return {"reading": reading, "norm": norm, "tension": tension, "confidence": "mid", "sources": [], **more}


SYNTHESIS = {
    "relevant": True,
    "agreements": ["All ask what is owed to parents."],
    "disagreements": [
        {
            "about": "who decides",
            "positions": [
                {"lenses": ["Western"], "holds": "The person decides."},
                {"lenses": ["East Asian", "african"], "holds": "The family decides together."},
            ],
        }
    ],
    "stance": "contrast",
    "synthesis": "They agree on care and differ on who decides.",
}


SCRIPT: dict[str, Any] = {
    "perceive": PERCEPTION,
    "hypothesise": HYPOTHESES,
    "foresee": FORESIGHT,
    "refine": REFINEMENT,
    "perspective.western": note("Liberal thought asks what the person freely chooses."),
    "perspective.east_asian": note("Confucian ethics asks what each owes to the other."),
    "perspective.south_asian": note("Dharma asks for the duty of this stage of life."),
    "perspective.islamic": note("The jurists ask for intention and consent."),
    "perspective.african": note("Ubuntu asks what it does to the bonds between them."),
    "perspective.latin_american": note("Liberation theology looks from the side of the weakest."),
    "perspective.indigenous": note("Haudenosaunee law looks seven generations ahead."),
    "synthesise": SYNTHESIS,
    "prior": PRIORS,
    "read": READING,
    "write": WARM,
    "validate": GOOD,
    "gate": SAFE,
    "remember": NOTHING,
    "summarise": {"summary": "They talked about an outing."},
    "portray": {"portrait": "Seems to hide what they wish for.", "strategy": "Ask twice."},
}
