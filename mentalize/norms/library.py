"""Library: every norm at hand, and those that bear on a message.

General norms and a deployment's own are read at once. A packaged culture's are read when somebody states that culture
as theirs: its norms apply then and only then, and nothing else makes them apply.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import PackError
from ..terms import fold
from ..types import NOTHING_STATED, Circumstances, Culture, Embedder, Norm, NormMatch, Perception
from .pack import NormPack, read_culture, read_pack
from .retrieval import Hit, NormIndex, words_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GENERAL = ("ethical", "role", "cultural")
"""The packs that hold for everybody."""

LIMIT = 8
"""Norms that a turn gets, unless more of them veto."""

_LONGEST = 8_000
"""Characters of a message that are looked at."""


class NormLibrary:
    """All norms, by culture."""

    def __init__(self, packs: Sequence[NormPack] = ()) -> None:
        """Take packs of a deployment's own beside the packaged ones; `load` checks them."""
        self._own = tuple(packs)
        everybody = (norm for pack in self._own if pack.culture is None for norm in pack.norms)
        self._general = NormIndex((*_general(), *everybody))
        self._by_culture: dict[str, NormIndex] = {}

    @classmethod
    def load(cls, *paths: Path) -> NormLibrary:
        """The packaged norms and those of a deployment's own packs.

        Raises:
            PackError: a pack is malformed, or an id occurs twice; the message names the file.
        """
        known = {norm.id: "mentalize" for norm in _general()}
        packs: list[NormPack] = []
        for path in paths:
            pack = read_pack(path)
            for norm in pack.norms:
                if norm.id in known:
                    raise PackError(
                        f"{path}: the norm `{norm.id}` is declared twice; it is also in {known[norm.id]}.",
                        hint="Give it an id of its own.",
                    )
                known[norm.id] = str(path)
            packs.append(pack)
        return cls(packs)

    # --- cultures -----------------------------------------------------------------------------------------

    def cultures(self) -> tuple[Culture, ...]:
        """Every culture that has norms, by id."""
        own = {pack.culture.id: pack.culture for pack in self._own if pack.culture}
        return tuple(culture for _, culture in sorted({**_packaged_cultures(), **own}.items()))

    def culture(self, stated: str) -> Culture | None:
        """The culture that somebody states as theirs, by its id, its name or another word for it; None if unknown."""
        name = _name(stated)
        return next((culture for culture in self.cultures() if name in _names(culture)), None)

    def of_culture(self, identity: str) -> tuple[Norm, ...]:
        """The norms of a culture, by its id."""
        return self._index(identity).norms

    def every(self) -> tuple[Norm, ...]:
        """Every norm: those for everybody, then those of each culture. Reads all packs."""
        return (*self._general.norms, *(norm for item in self.cultures() for norm in self.of_culture(item.id)))

    # --- what bears on a message --------------------------------------------------------------------------

    def matches(
        self,
        text: str,
        *,
        circumstances: Circumstances = NOTHING_STATED,
        charter: str = "",
        perception: Perception | None = None,
        vector: NDArray[np.float32] | None = None,
        embedder: str = "",
        limit: int = LIMIT,
    ) -> tuple[NormMatch, ...]:
        """The norms that bear on a message, at most `limit`: those that veto first, then by relevance and strength.

        A norm without `applies` bears on everything; any other on a message that shares a word with it, or is near to
        it where vectors are given. Perceived emotion, cause, need and flaw count as words of the message. Norms of a
        culture are looked at only if the person stated it, and get up to half of the places; those of a role or a
        domain only where that is in force. A veto that applies always stays.

        Args:
            text: The message.
            circumstances: What is stated; its cultures and domain matter here.
            charter: The id of the charter in force.
            perception: What was perceived, if it was.
            vector: The message's vector, and `embedder` the name of what made it.
            embedder: See there.
            limit: Norms at most, vetoes apart.
        """
        words = words_of((text[-_LONGEST:], *_perceived(perception)))
        general = [
            match
            for match in _weighed(self._general, words, vector, embedder)
            if match.norm.role in ("", charter) and match.norm.domain in ("", circumstances.domain)
        ]
        cultural = _best_first(
            _of(match, culture)
            for culture in self._stated(circumstances)
            for match in _weighed(self._index(culture.id), words, vector, embedder)
        )
        vetoes = [match for match in (*general, *cultural) if match.norm.hard]
        others = [match for match in _best_first(general) if not match.norm.hard]
        theirs = [match for match in cultural if not match.norm.hard]
        left = max(0, limit - len(vetoes))
        kept = theirs[: max(left // 2, left - len(others))]
        return (*vetoes, *_best_first([*kept, *others[: left - len(kept)]]))

    async def embed(self, embedder: Embedder, circumstances: Circumstances) -> None:
        """Make the vectors of the norms of stated cultures, unless they are made.

        Raises:
            EmbedderError: the model cannot be loaded or gave no vectors.
        """
        for culture in self._stated(circumstances):
            await self._index(culture.id).embed(embedder)

    def _stated(self, circumstances: Circumstances) -> tuple[Culture, ...]:
        found = (self.culture(stated) for stated in circumstances.cultures)
        return tuple(dict.fromkeys(culture for culture in found if culture))

    def _index(self, identity: str) -> NormIndex:
        if identity not in self._by_culture:
            own = (norm for pack in self._own if pack.culture and pack.culture.id == identity for norm in pack.norms)
            packaged = _packaged_pack(identity).norms if identity in _packaged_cultures() else ()
            self._by_culture[identity] = NormIndex((*packaged, *own))
        return self._by_culture[identity]


def _weighed(
    index: NormIndex, words: dict[str, str], vector: NDArray[np.float32] | None, embedder: str
) -> list[NormMatch]:
    """The norms of an index that apply, each with how relevant it is and why."""
    hits = {hit.norm.id: hit for hit in index.search(words, vector=vector, embedder=embedder)}
    found: list[NormMatch] = []
    for norm in index.norms:
        hit = hits.get(norm.id)
        if not norm.applies:
            found.append(NormMatch(norm, norm.strength * (0.5 + (hit.score / 2 if hit else 0)), "always applies"))
        elif hit:
            found.append(NormMatch(norm, norm.strength * (0.5 + hit.score), _because(hit)))
    return found


def _because(hit: Hit) -> str:
    return f"shares {', '.join(hit.shared[:4])}" if hit.shared else "is near in meaning"


def _of(match: NormMatch, culture: Culture) -> NormMatch:
    return NormMatch(match.norm, match.relevance, f"{culture.name} is stated; {match.reason}")


def _best_first(matches: Iterable[NormMatch]) -> list[NormMatch]:
    return sorted(matches, key=lambda match: -match.relevance)


def _perceived(perception: Perception | None) -> tuple[str, ...]:
    if perception is None:
        return ()
    return (perception.emotion.name, perception.cause, perception.need, perception.flaw)


def _name(text: str) -> str:
    return " ".join(fold(text).split())


@lru_cache(maxsize=256)
def _names(culture: Culture) -> frozenset[str]:
    return frozenset(map(_name, (culture.id, culture.name, *culture.also)))


# --- what is packaged -------------------------------------------------------------------------------------


def packaged_files() -> tuple[Traversable, ...]:
    """Every packaged file of norms: the general ones, then each culture's."""
    general = (files("mentalize.norms") / "packs" / f"{name}.toml" for name in GENERAL)
    return (*general, *_culture_files().values())


@lru_cache(maxsize=1)
def _general() -> tuple[Norm, ...]:
    return tuple(
        norm for name in GENERAL for norm in read_pack(files("mentalize.norms") / "packs" / f"{name}.toml").norms
    )


@lru_cache(maxsize=1)
def _culture_files() -> dict[str, Traversable]:
    folder = files("mentalize.norms") / "packs" / "cultures"
    found = {entry.name.removesuffix(".toml"): entry for entry in folder.iterdir() if entry.name.endswith(".toml")}
    return dict(sorted(found.items()))


@lru_cache(maxsize=1)
def _packaged_cultures() -> dict[str, Culture]:
    """The packaged cultures by id: the head of each file alone."""
    return {identity: read_culture(file) for identity, file in _culture_files().items()}


@lru_cache(maxsize=128)
def _packaged_pack(identity: str) -> NormPack:
    return read_pack(_culture_files()[identity])
