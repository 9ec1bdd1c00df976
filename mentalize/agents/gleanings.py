"""Gleanings: what one message tells about a person, after code has checked every part of it.

A model proposes; nothing is believed that the person's own words in this message do not show.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..memory.function_words import FUNCTION_WORDS
from ..memory.importance import asks
from ..memory.terms import fold, terms_of
from ..types import MemoryKind
from .quotes import GAP, before, own_words, plain_quote, quoted
from .wording import held_by, words_of

GROUNDED = 0.5
"""Share of a fact's content words that must be the person's own."""

ADDED = 1
"""Content words that a model may add. A fact with more, or with fewer of the person's, is kept in its quote's words."""

SELF = "self"

LONGEST_CLAUSE = 240
"""Characters of a clause that can be kept as a whole."""

_SENTENCE = re.compile(r"(?<=[.!?])(?=\s)|(?<=[。！？؟])|(?<=\n)(?![a-zà-ÿа-яё])")
"""Between two sentences. A line that goes on in lower case was only broken."""

_TOGETHER = 4
"""Sentences or clauses over which a quote may run."""


@dataclass(frozen=True, slots=True)
class _Sense:
    """Words of one language that turn or suspend what is said beside them, as patterns."""

    turning: str
    """They deny it, end it, doubt it or ascribe it to somebody: what is said is true only together with them."""
    supposing: str
    """What stands behind them is only supposed."""
    opposing: str
    """They begin a clause that stands for itself."""


_SENSES: Mapping[str, _Sense] = {
    "english": _Sense(
        r"\w+n't|not|no|cannot|never|nothing|nobody|none|neither|nor|without|hardly|barely|rarely|(?:do|does|did|is|are|was"
        r"|were|ca|wo|have|has|would|could)nt|maybe|perhaps|probably|possibly|might|could|would|almost|nearly|stop(?:s|ped)?"
        r"|quit|gave up|used to|think|thinks|thought|believes?|believed|guess|says?|said|tells|told|claims?|claimed"
        r"|wrote|heard|anything but|pretend(?:s|ed)?|dream(?:s|ed|t)?",
        r"if|unless|suppose|supposing|assuming|imagine|whether|wish|wishes|wished|as though|let's say",
        "but|though|although|however|whereas",
    ),
    "german": _Sense(
        r"nicht|nich|nichts|nie|niemals|kein\w*|niemand\w*|nirgends|weder|ohne|kaum|vielleicht|womöglich|möglicherweise"
        r"|könnten?|würden?|wären?|hätten?|fast|beinahe|früher|aufgehört|angeblich|glaube|glaubt|denke|denkt|sagt|sagte"
        r"|gesagt|meint|meinte|behauptet\w*|schrieb|gehört",
        r"wenn|falls|sofern|angenommen|ob|wünschten?|gesetzt den fall|stell dir vor",
        "aber|jedoch|doch|sondern|obwohl",
    ),
    "spanish": _Sense(
        r"no|nunca|jam[aá]s|nada|nadie|ning[uú]n|ninguna|ninguno|tampoco|sin|ni|apenas|quiz[aá]s?|tal vez|podr[ií]a\w*"
        r"|ser[ií]a\w*|casi|antes|dej[eé] de|creo|cree|pienso|piensa|dice|dicen|dijo|dije",
        r"si|supongamos|imagina|imaginemos|ojal[aá]|a menos que|suponiendo",
        "pero|sino|aunque",
    ),
    "french": _Sense(
        r"ne|n'(?=\w)|pas|jamais|rien|personne|aucune?|sans|ni|guère|plus|peut-être|peut être|probablement|pourrai[st]"
        r"|serai[st]|aurai[st]|presque|arrêté|crois|croit|pense|dit|disent|prétend",
        r"si|s'ils?|supposons|imagine|imaginons|à moins que",
        "mais|cependant|pourtant",
    ),
    "italian": _Sense(
        r"non|mai|niente|nulla|nessun\w*|né|senza|neanche|nemmeno|neppure|forse|potrei|potrebbe|sarei|sarebbe|vorrei|quasi"
        r"|smesso|credo|crede|penso|pensa|dice|dicono|detto",
        r"se|supponiamo|immagina|immaginiamo|magari|a meno che",
        "ma|però|tuttavia",
    ),
    "portuguese": _Sense(
        r"n[aã]o|nunca|jamais|nada|ningu[eé]m|nenhum\w*|sem|nem|tampouco|talvez|poderia|seria|quase|parei|deixei de"
        r"|acho|acha|creio|penso|disse|diz|dizem",
        r"^se|se (?:eu|tu|voc[eê]s?|eles?|elas?|nós|a gente|for|\w+sse(?:s|m|mos)?)|caso|suponha\w*|imagin[ae]|oxalá"
        r"|tomara",
        "mas|porém|contudo",
    ),
}
"""By language of Latin script. Which are a message's own is told by its function words: "si" and "se" differ."""

_SENSE_ELSEWHERE = _Sense(
    # Russian, Arabic
    r"\b(?:не|ни|нет|никогда|никто|ничего|нигде|без|вряд ли|может быть|возможно|наверное|бы|почти|бросила?|думаю"
    r"|сказала?|говорит|[وف]?(?:لا|لم|لن|ليس|ليست|لست|ليسوا|ما|غير|بدون|بلا|دون|ربما))\b"
    # Chinese, Japanese, Korean
    r"|[不没沒未无無别別]|也许|也許|可能|或许|或許|戒了|ない|なかった|ません|かもしれ|않|못|없|아니|아마",
    r"\b(?:если|допустим|предположим|представь\w*|ли|[وف]?(?:لو|إذا|اذا|ليت|ليتني))\b"
    r"|如果|假如|要是|假设|假設|倘若|的话|的話|もし|仮に|만약|만일|라면",
    r"\b(?:но|однако|зато|و?لكن)\b|但是|可是|不过|不過",
)
"""In scripts that no other language here shares."""

_ANSWER = re.compile(r"^\W*(?:no|nope|nein|non|n[aã]o|нет|لا|不是?|いいえ|아니요?)\s*[,.:，、،]\s*", re.IGNORECASE)
"""An answer to what was said before, and no word of the clause."""


_CHANGING = re.compile(
    r"\b(?:now|moved|left|quit|stopped|changed|became|switched|sold|divorced|retired|died|no longer|any ?more|instead"
    r"|jetzt|umgezogen|gekündigt|aufgehört|gewechselt|geschieden|verkauft|gestorben|nicht mehr|stattdessen"
    r"|ahora|mud[eéoó]|mudado|mudamos|dejé|cambi[eé]|vendí|divorci[eé]|murió|ya no"
    r"|maintenant|désormais|déménagé|quitté|arrêté|changé|divorcé|vendu|morte?|ne \w+ plus"
    r"|adesso|ormai|trasferit[oa]|lasciato|smesso|cambiato|divorziat[oa]|venduto|mort[oa]|non \w+ più"
    r"|agora|mudei|deixei|parei|troquei|divorciei|vendi|morreu|já não"
    r"|теперь|переехала?|переехали|бросила?|уволил\w+|сменила?|продала?|разв[её]л\w+|умер\w*|больше не"
    r"|الآن|انتقلت|تركت|توقفت|لم أعد)\b|搬|现在|現在|不再|换|換|离婚|離婚|辞职|辭職|戒了|去世|引っ越|辞め|이제|이사",
    re.IGNORECASE,
)
"""Words by which people say that something is not as it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that the person stated."""

    kind: MemoryKind
    text: str
    """In their language; in their own words where the model's said more than they did."""
    quote: str
    """Their words, as they occur in the message."""
    subject: str = ""
    """Whom it is about, in their words; empty for themselves."""
    replaces: str = ""
    """Id of the memory that is no longer true because of it, or empty."""


@dataclass(frozen=True, slots=True)
class Bearing:
    """That the message speaks for or against something that is remembered."""

    memory: str
    """Its id."""
    quote: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gleanings:
    """What one message tells."""

    facts: tuple[Fact, ...] = ()
    emotion: str = ""
    """One word in English, in lower case; empty for none."""
    emotion_words: str = ""
    """The person's words that show it."""
    confirms: tuple[Bearing, ...] = ()
    contradicts: tuple[Bearing, ...] = ()
    dropped: int = 0
    """Parts of the answer that did not pass a check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A fact as a model gave it."""

    kind: str
    text: str
    quote: str
    subject: str = ""
    replaces: str = ""
    """A label of `labels`."""


def checked(given: Proposal, message: str, labels: Mapping[str, str]) -> Fact | None:
    """The fact, if the person stated it in `message`; None for what they did not say, asked, only supposed or cited.

    Where the quote leaves out a word that turns its sense ("not", "maybe", "he says"), the whole clause is kept.

    Args:
        given: What the model proposes.
        message: What the person wrote.
        labels: Ids of the memories that the model was shown, by label.
    """
    own = own_words(message)
    quote = stated(given.quote, own)
    if not quote or not terms_of(quote):
        return None
    is_whole = plain_quote(quote) != plain_quote(given.quote)
    says_it = not is_whole and _is_grounded(given.text, own) and same_sense(given.text, quote)
    return Fact(
        kind=MemoryKind.PREFERENCE if given.kind == MemoryKind.PREFERENCE else MemoryKind.FACT,
        text=given.text if says_it else quote,
        quote=quote,
        subject="" if fold(given.subject).strip() == SELF else quoted(given.subject, own),
        replaces=labels.get(given.replaces.strip("[] ").lower(), ""),
    )


def bearing(label: str, quote: str, message: str, labels: Mapping[str, str]) -> Bearing | None:
    """What the message says of a memory, if its quote occurs in a statement and its label exists."""
    memory, words = labels.get(label.strip("[] ").lower(), ""), stated(quote, own_words(message))
    return Bearing(memory, words) if memory and words else None


def stated(quote: str, own: str) -> str:
    """The quote as the person states it; empty if they do not.

    Args:
        quote: Words that a model says it quotes.
        own: The `own_words` of the message.

    Returns:
        The quote, or the clause around it where that holds a word that turns its sense and the quote does not.
    """
    plain = plain_quote(quote)
    if not plain:
        return ""
    senses = _senses_of(own)
    opposing = re.compile(rf"(?<=[;—])|(?=[,，、]\s*(?:{_any(sense.opposing for sense in senses)}))", re.IGNORECASE)
    found = ""
    for sentence in _holding(plain, _sentences(own)):
        for clause in _holding(plain, [part for part in opposing.split(sentence) if part]):
            found = _as_stated(quote, plain, clause, senses) or found
    return found


def same_sense(one: str, other: str) -> bool:
    """Whether two texts are alike in that they do or do not deny, doubt or suppose something. By their words alone."""
    senses = _senses_of(f"{one} {other}")
    return [bool(words) for words in _turns(one, senses)] == [bool(words) for words in _turns(other, senses)]


def tells_change(words: str) -> bool:
    """Whether somebody says that something has become different."""
    return _CHANGING.search(words) is not None


def _sentences(own: str) -> list[str]:
    """What states something."""
    return [sentence for sentence in _SENTENCE.split(own) if sentence.strip() and not asks(sentence)]


def _holding(plain: str, parts: Sequence[str]) -> list[str]:
    """The shortest runs of neighbouring parts that hold a quote."""
    for length in range(1, _TOGETHER + 1):
        runs = ("".join(parts[first : first + length]) for first in range(len(parts) - length + 1))
        if found := [run for run in runs if before(plain, run) is not None]:
            return found
    return []


def _as_stated(quote: str, plain: str, clause: str, senses: Sequence[_Sense]) -> str:
    """The quote, or its whole clause, or nothing where it is only supposed or the clause is too long."""
    clause = _ANSWER.sub("", clause).strip(" \t\n,;—-.。")
    lead = before(plain, clause)
    if lead is None:  # the quote is the answer itself
        return quote
    own_turning, own_supposing = _turns(plain, senses)
    turning, supposing = _turns(clause, senses)
    if _is_supposed(lead, plain, senses, own_supposing):
        return ""
    if turning - own_turning or supposing - own_supposing:
        clause = " ".join(clause.split())
        return clause if len(clause) <= LONGEST_CLAUSE and GAP not in clause else ""
    return quoted(quote, clause)


def _is_supposed(lead: str, plain: str, senses: Sequence[_Sense], own: frozenset[str]) -> bool:
    """Whether a supposition begins the clause, or stands in it before the quote."""
    said = f"{lead}{plain}"
    supposing = re.finditer(_any(sense.supposing for sense in senses), said)
    return any(
        not plain_quote(said[: word.start()]) or (word.start() < len(lead) and word[0] not in own) for word in supposing
    )


def _turns(text: str, senses: Sequence[_Sense]) -> tuple[frozenset[str], frozenset[str]]:
    """The words of a text that turn its sense, and those that make a supposition of it."""
    plain = plain_quote(text)
    turning = re.finditer(_any(sense.turning for sense in senses), plain)
    supposing = re.finditer(_any(sense.supposing for sense in senses), plain)
    return frozenset(word[0] for word in turning), frozenset(word[0] for word in supposing)


def _senses_of(text: str) -> tuple[_Sense, ...]:
    """Of the languages of Latin script that fit the text best, and of all other scripts."""
    words, plain = fold(text).split(), plain_quote(text)
    known = {
        language: sum(word in FUNCTION_WORDS[language] for word in words)
        + len(re.findall(rf"(?<!\w)(?:{sense.turning})(?!\w)", plain))
        for language, sense in _SENSES.items()
    }
    most = max(known.values())
    return (*(_SENSES[language] for language in _SENSES if known[language] == most), _SENSE_ELSEWHERE)


def _any(patterns: Iterable[str]) -> str:
    """One pattern for whole words of the languages of Latin script, and for the last one as it is."""
    *latin, elsewhere = patterns
    return rf"(?<!\w)(?:{'|'.join(latin)})(?!\w)|{elsewhere}"


def _is_grounded(text: str, own: str) -> bool:
    """Whether a statement says it mostly with words that the person used. Every number must be theirs."""
    words, used = words_of(text), frozenset(terms_of(own))
    added = [word for word in words if not held_by(word, used)]
    invented = any(term.isdecimal() for word in added for term in word)
    return bool(words) and not invented and len(added) <= min(ADDED, (1 - GROUNDED) * len(words))
