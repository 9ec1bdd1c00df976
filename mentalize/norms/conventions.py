"""Conventions: all that a deployment goes by, in one place: charters, norms and lenses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..terms import fold
from ..types import Circumstances, Embedder, Lens, Norm, NormMatch, Perception, RoleCharter
from .charter import PACKAGED, load_charter
from .lens import chosen_lenses, load_lenses
from .library import NormLibrary
from .pack import read_pack

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Meaning:
    """A message's vector, and the name of what made it."""

    vector: NDArray[np.float32]
    embedder: str


@dataclass(frozen=True, slots=True)
class Conventions:
    """Charters, norms and lenses of a deployment. Cultures' norms are read when somebody states that culture."""

    charter: RoleCharter
    """The one that is in force where a request names none."""
    charters: Mapping[str, RoleCharter]
    """The deployment's own charters, by id, beside the packaged ones."""
    library: NormLibrary
    lenses: tuple[Lens, ...]

    @classmethod
    def load(
        cls,
        charter: str | Path,
        *,
        charters: Sequence[Path] = (),
        norm_packs: Sequence[Path] = (),
        lens_packs: Sequence[Path] = (),
        lenses: Sequence[str] = (),
    ) -> Conventions:
        """Read and check them.

        Args:
            charter: Name or path of the charter in force.
            charters: Paths of further ones that a request may name by id.
            norm_packs: Norm packs beside ours.
            lens_packs: Files of lenses beside ours.
            lenses: Ids of the lenses that are asked; all, if empty.

        Raises:
            PackError: a file is malformed, or a name is not known.
        """
        in_force = load_charter(charter)
        own = {item.id: item for item in (in_force, *map(load_charter, charters))}
        return cls(in_force, own, NormLibrary.load(*norm_packs), chosen_lenses(load_lenses(*lens_packs), lenses))

    def charter_of(self, circumstances: Circumstances) -> RoleCharter:
        """The charter that a turn goes by.

        Raises:
            InputError: it names one that is neither packaged nor the deployment's own. A path is none: whoever may
                send a request may not read files.
        """
        name = circumstances.charter
        if not name:
            return self.charter
        if name in self.charters:
            return self.charters[name]
        if name in PACKAGED:
            return load_charter(name)
        known = ", ".join(sorted({*self.charters, *PACKAGED}))
        raise InputError(
            f"There is no charter {name!r}.", hint=f"The charters are: {known}. Add others with `charters`."
        )

    def read(self, circumstances: Circumstances) -> None:
        """Read the norms of stated cultures, which `matching` would do otherwise."""
        self.library.matches("", circumstances=circumstances)

    async def meaning(self, text: str, circumstances: Circumstances, embedder: Embedder) -> Meaning:
        """What a message means to the norms of the stated cultures.

        Raises:
            EmbedderError: the model cannot be loaded or gave no vectors.
        """
        await self.library.embed(embedder, circumstances)
        [vector] = await embedder.embed([text], query=True)
        return Meaning(vector, embedder.name)

    def matching(
        self, text: str, circumstances: Circumstances, charter: RoleCharter, meaning: Meaning | None = None
    ) -> Callable[[Perception | None], tuple[NormMatch, ...]]:
        """How to find the norms that bear on a message; each perception of it is looked up once."""
        found: dict[int, tuple[NormMatch, ...]] = {}

        def matches(perception: Perception | None) -> tuple[NormMatch, ...]:
            key = id(perception)
            if key not in found:
                found[key] = self.library.matches(
                    text,
                    circumstances=circumstances,
                    charter=charter.id,
                    perception=perception,
                    vector=meaning.vector if meaning else None,
                    embedder=meaning.embedder if meaning else "",
                )
            return found[key]

        return matches

    def lenses_for(self, circumstances: Circumstances) -> tuple[Lens, ...]:
        """The lenses that are asked, those nearest to the person's stated cultures first."""
        if not circumstances.cultures:
            return self.lenses
        near = [lens for stated in circumstances.cultures if (lens := self._lens_of(stated))]
        return tuple(sorted(self.lenses, key=lambda lens: near.index(lens.id) if lens.id in near else len(near)))

    def traditions(self, circumstances: Circumstances) -> tuple[str, ...]:
        """What each lens draws on first, in the same order."""
        return tuple(f"{lens.name}: {lens.traditions[0]}" for lens in self.lenses_for(circumstances))

    def _lens_of(self, stated: str) -> str:
        """The lens that a stated culture is nearest to, or that it names; empty where none is."""
        name = fold(stated).strip()
        named = (lens.id for lens in self.lenses if name in (fold(lens.name).strip(), fold(lens.id).strip()))
        culture = self.library.culture(stated)
        return next(named, culture.lens if culture else "")


@lru_cache(maxsize=1)
def even_handed() -> tuple[Norm, ...]:
    """The norms of a reply that sets out several traditions."""
    return read_pack(files("mentalize.norms") / "packs" / "multiplex.toml").norms
