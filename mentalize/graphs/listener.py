"""Listener: hears a reply while somebody else writes it, and says how much of it may leave."""

from __future__ import annotations

from ..types import Effort, StreamMode
from .sentences import Sentences
from .stages import JUDGED, WITHIN
from .state import State, TurnContext


class Listener:
    """Sentence by sentence, by the code's gates. Where a model judges, the newest waits for its verdict.

    Nothing leaves before the message is understood, nor on signs of danger; what passes through leaves as it comes.
    """

    def __init__(self, context: TurnContext) -> None:
        self._context = context
        self._sentences = Sentences()
        self._passed = self._newest = self._leaving = 0
        """How far the sentences that passed go, where the newest of them begins, and how much was free to leave."""
        self.text = ""
        """All that was heard."""
        self.failed = False
        """Whether a sentence failed a gate: no more of this reply is to leave."""

    @property
    def passed(self) -> str:
        """The sentences that passed, up to the first one that did not."""
        return self.text[: self._passed]

    @property
    def left(self) -> str:
        """What was said to be free to leave, at the last time of asking."""
        return self.text[: self._leaving]

    def hear(self, piece: str) -> None:
        """Take in what was written next."""
        self.text += piece
        if self._context.effort is Effort.NONE or self.failed:
            return
        for sentence in self._sentences.feed(piece):
            if not self._context.passes(self.passed[-WITHIN:] + sentence):
                self.failed = True
                return
            self._passed = len(self.text) - self._sentences.waiting
            self._newest = self._passed - len(sentence)

    def may_leave(self, understood: State | None) -> int:
        """How many characters of `text` may leave, from its beginning; never fewer than before.

        Args:
            understood: The state of the turn; None while it is not understood.
        """
        context = self._context
        if context.effort is Effort.NONE:
            self._leaving = len(self.text)
        elif understood is not None and context.mode is not StreamMode.GATED and not context.signs(understood):
            self._leaving = max(self._leaving, self._newest if context.effort in JUDGED else self._passed)
        return self._leaving
