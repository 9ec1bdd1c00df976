"""Gleanings: what one message tells about a person, after code has checked every part of it.

A model proposes; nothing is believed that the person's own words in this message do not show.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..function_words import FUNCTION_WORDS
from ..memory.importance import asks
from ..safety.orders import gives_order
from ..terms import fold, terms_of
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

_AROUND = " \t\n,;—-.。।"
"""Signs around a clause that belong to none."""

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
    speaker: str = ""
    """Words by which people speak of themselves; empty where the verb alone shows it."""


_SENSES: Mapping[str, _Sense] = {
    "english": _Sense(
        r"\w+n't|not|no|cannot|never|nothing|nobody|none|neither|nor|without|hardly|barely|rarely|(?:do|does|did|is|are|was"
        r"|were|ca|wo|have|has|would|could)nt|maybe|perhaps|probably|possibly|might|could|would|almost|nearly|stop(?:s|ped)?"
        r"|quit|gave up|used to|think|thinks|thought|believes?|believed|guess|says?|said|tells|told|claims?|claimed"
        r"|wrote|heard|anything but|pretend(?:s|ed)?|dream(?:s|ed|t)?",
        r"if|unless|suppose|supposing|assuming|imagine|whether|wish|wishes|wished|as though|let's say",
        "but|though|although|however|whereas",
        "i|im|ive|me|my|mine|myself|we|us|our|ours",
    ),
    "german": _Sense(
        r"nicht|nich|nichts|nie|niemals|kein\w*|niemand\w*|nirgends|weder|ohne|kaum|vielleicht|womöglich|möglicherweise"
        r"|könnten?|würden?|wären?|hätten?|fast|beinahe|früher|aufgehört|angeblich|glaube|glaubt|denke|denkt|sagt|sagte"
        r"|gesagt|meint|meinte|behauptet\w*|schrieb|gehört",
        r"wenn|falls|sofern|angenommen|ob|wünschten?|gesetzt den fall|stell dir vor",
        "aber|jedoch|doch|sondern|obwohl",
        r"ich|mir|mich|mein\w*|wir|uns|unser\w*|unsre\w*",
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
        "je|j|me|m|moi|mon|ma|mes|nous|notre|nos|on",
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
    # Russian, Arabic; Hindi
    r"\b(?:не|ни|нет|никогда|никто|ничего|нигде|без|вряд ли|может быть|возможно|наверное|бы|почти|бросила?|думаю"
    r"|сказала?|говорит|[وف]?(?:لا|لم|لن|ليس|ليست|لست|ليسوا|ما|غير|بدون|بلا|دون|ربما|قالت?|يقول|تقول|أظن|أعتقد))\b"
    r"|नहीं|शायद|कहा(?![ँनं])|कहते|कहता|कहती|बोला|बोले|सोचता|सोचती"
    # Chinese, Japanese, Korean
    r"|[不没沒未无無别別]|也许|也許|可能|或许|或許|戒了|说|說|认为|認為|觉得|覺得|ない|なかった|ません|かもしれ|と言|って言|らしい|않|못|없|아니|아마|라고|다고",
    r"\b(?:если|допустим|предположим|представь\w*|ли|[وف]?(?:لو|إذا|اذا|ليت|ليتني))\b"
    r"|अगर|यदि|मान लो|काश|如果|假如|要是|假设|假設|倘若|的话|的話|もし|仮に|만약|만일|라면",
    r"\b(?:но|однако|зато|و?لكن)\b|लेकिन|मगर|但是|可是|不过|不過",
    r"我|咱|本人|मैं|मुझ|मेर|हम",
)
"""In scripts that no other language here shares."""

_ANSWER = re.compile(r"^\W*(?:no|nope|nein|non|n[aã]o|нет|لا|不是?|いいえ|아니요?)\s*[,.:，、،]\s*", re.IGNORECASE)
"""An answer to what was said before, and no word of the clause."""


_WE_SAID = re.compile(
    r"\byou (?:\w+ ){0,2}(?:said|told|promised|agreed|confirmed|wrote|claimed|admitted|assured)\b"
    r"|\b(?:du|ihr) (?:\w+ ){0,3}(?:gesagt|versprochen|bestätigt|geschrieben)\b|\bdu (?:sagtest|meintest|versprachst)\b"
    r"|\bsie haben (?:\w+ ){0,2}(?:gesagt|versprochen|bestätigt)\b"
    r"|\b(?:me )?(?:dijiste|prometiste|confirmaste|aseguraste|escribiste|has dicho)\b"
    r"|\busted (?:me )?(?:dijo|confirmó)\b"
    r"|\b(?:tu (?:m')?(?:as|avais)|vous (?:m')?(?:avez|aviez)) (?:dit|promis|confirmé|écrit)\b"
    r"|\b(?:hai|avevi) (?:detto|promesso|confermato|scritto)\b"
    r"|\b(?:você|tu) (?:me )?(?:disse|disseste|prometeu|confirmou|falou)\b"
    r"|\b(?:ты|вы) (?:\w+ ){0,2}(?:сказал|говорил|обещал|подтвердил|написал)\w*"
    r"|(?<!\w)(?:أخبرتني|وعدتني|قلت لي|أكدت لي)(?!\w)|(?:आपने|तुमने)[^,।]{0,16}(?:कहा|बताया|वादा)"
    r"|[你您](?:之前|上次|刚才|剛才|曾经|曾經|已经|已經)?(?:说|說|告诉|告訴|答应|答應|承认|承認)"
    r"|(?:あなた|君)[はが][^、。]{0,12}(?:言っ|約束|認め)|(?:네가|당신이|너는)[^,.]{0,12}(?:말했|약속|인정)",
    re.IGNORECASE,
)
"""That the assistant is said to have said something."""

_I = re.compile(
    r"(?:i|i'm|im|i've|we|ich|wir|je|nous|yo|nosotr[oa]s|io|noi|eu|nós|я|мы|أنا|نحن)\b|j'"
    r"|我(?![的哥姐弟妹爸妈媽爷爺奶儿兒女老丈妻先太朋同家])|मैं|मुझे|हम|[私僕俺](?!の)|나는|저는"
)
"""A statement that begins with the person."""

_OF_ONESELF = re.compile(
    r"\b(?:i|im|i'm|i've|me|my|mine|ich|mir|mich|mein\w*|je|j'|moi|mon|ma|mes|yo|mi|mis|me|soy|estoy|tengo|vivo|io|mio|mia"
    r"|sono|ho|eu|meu|minha|sou|estou|tenho|moro|я|мне|меня|мой|моя|мо[её]|أنا|لي|عندي|لدي|إنني|إني)\b|我|मैं|मुझ|मेर|私|僕|俺|나|저는|제"
)
"""Words by which a statement is about the person."""

_SCRIPT = re.compile(r"[^\s\u3040-\u9fff]+|[\u3040-\u9fff]+")
"""A run of one script: where words are not spaced, a name in another one parts them, too."""

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
    says_it = not is_whole and _is_grounded(given.text, quote) and same_sense(given.text, quote)
    says_it = says_it and _is_of_the_same(given.text, quote)
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
    quote = quote.strip(_AROUND)
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
    """What states something, and does not order the assistant about."""
    sentences = _SENTENCE.split(own)
    return [sentence for sentence in sentences if sentence.strip() and not asks(sentence) and not gives_order(sentence)]


def _holding(plain: str, parts: Sequence[str]) -> list[str]:
    """The shortest runs of neighbouring parts that hold a quote."""
    for length in range(1, _TOGETHER + 1):
        runs = ("".join(parts[first : first + length]) for first in range(len(parts) - length + 1))
        if found := [run for run in runs if before(plain, run) is not None]:
            return found
    return []


def _as_stated(quote: str, plain: str, clause: str, senses: Sequence[_Sense]) -> str:
    """The quote, or its whole clause, or nothing where it is only supposed or the clause is too long."""
    whole = clause.strip(_AROUND)
    clause = _ANSWER.sub("", whole)
    if before(plain, clause) is None:  # the quote holds the answer, too
        clause = whole
    lead = before(plain, clause)
    if lead is None:
        return ""
    own_turning, own_supposing = _turns(plain, senses)
    turning, supposing = _turns(clause, senses)
    if _is_supposed(lead, plain, senses, own_supposing) or _is_put_in_our_mouth(lead, clause):
        return ""
    if turning - own_turning or supposing - own_supposing or _is_of_somebody(lead, plain, senses):
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


def _is_put_in_our_mouth(lead: str, clause: str) -> bool:
    """Whether the person says in a clause that the assistant said what stands behind the lead."""
    claim = _WE_SAID.search(plain_quote(clause))
    if claim is None or claim.start() > len(lead):
        return False
    # What a comma parts from it is the person's own statement again, unless it goes on with "that".
    return not _PARTED.search(lead[claim.end() :].rstrip(" ,，、"))


_PARTED = re.compile(r"[,，、](?!\s*(?:dass|daß|что|that|que|che|أن|कि)\b)")


def _is_of_somebody(lead: str, plain: str, senses: Sequence[_Sense]) -> bool:
    """Whether the clause says before the quote of whom it speaks, and the quote does not: "my brother | is ill"."""
    if not any(sign.isalpha() for sign in lead):
        return False
    *latin, elsewhere = senses
    if re.search("[a-z]", plain):
        speakers = [sense.speaker for sense in latin]
        return all(speakers) and not re.search(rf"(?<!\w)(?:{'|'.join(speakers)})(?!\w)", plain)
    return _NEEDS_SUBJECT.search(plain) is not None and not re.search(elsewhere.speaker, plain)


_NEITHER_JAPANESE_NOR_KOREAN = "[^\u3040-\u30ff\uac00-\ud7af]*"
_NEEDS_SUBJECT = re.compile(
    rf"\A{_NEITHER_JAPANESE_NOR_KOREAN}[\u0900-\u097f\u4e00-\u9fff]{_NEITHER_JAPANESE_NOR_KOREAN}\Z"
)
"""Hindi, or Chinese: no form of the verb shows who is meant."""


def _is_of_the_same(text: str, quote: str) -> bool:
    """Whether a statement is about the person only if the quote is, and names first what the quote names first."""
    if _OF_ONESELF.search(plain_quote(text)) and not _OF_ONESELF.search(plain_quote(quote)):
        return False
    words, said = words_of(" ".join(_SCRIPT.findall(quote))), frozenset(terms_of(text))
    return _I.match(plain_quote(quote)) is not None or not words or held_by(words[0], said)


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


def _is_grounded(text: str, quote: str) -> bool:
    """Whether a statement says it mostly with words of the quote. Every number must be the person's."""
    words, used = words_of(text), frozenset(terms_of(quote))
    added = [word for word in words if not held_by(word, used)]
    invented = any(term.isdecimal() for word in added for term in word)
    return bool(words) and not invented and len(added) <= min(ADDED, (1 - GROUNDED) * len(words))
