"""Danger: the signs of danger that code finds in a conversation, whatever a model notices."""

from __future__ import annotations

from ..safety.gates import has_referral
from ..safety.lexicon import find_risk
from ..safety.referral import ReferralTable
from ..types import RiskSign, Turn

EARLIER_MESSAGES = 2
"""How many of the person's earlier messages still count as signs of danger while no reply has named help."""


def signs_in(turn: Turn, referrals: ReferralTable) -> tuple[RiskSign, ...]:
    """Signs in the message, and in the last few before it while no reply has named help."""
    found = find_risk(turn.text)
    replies = [message.text for message in turn.messages if message.role == "assistant"]
    if found or any(has_referral(text, turn.country, referrals) for text in replies[-EARLIER_MESSAGES:]):
        return found
    earlier = [message.text for message in turn.messages[:-1] if message.role == "user"]
    return tuple(sign for text in earlier[-EARLIER_MESSAGES:] for sign in find_risk(text))
