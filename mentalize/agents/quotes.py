"""Quotes: whether words that a model says it quotes were really said, and which words of a message are the person's."""

from __future__ import annotations

import re
import unicodedata

from ..prompts.prompt import without_invisible
from ..terms import is_unspaced
from ..types import Turn

LONGEST = 10_000
"""Characters of a message that are looked at, half from its beginning and half from its end."""

GAP = "\ufffc"
"""Stands where words that are not the person's own were taken out."""

_MARKS = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "«": '"', "»": '"'})

_FENCED = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1[^\n]*$|\Z)", re.DOTALL | re.MULTILINE)
_CITED = re.compile(r"^[ \t]*>.*(?:\n[ \t]*>.*)*", re.MULTILINE)
_HIDDEN = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_FORWARDED = (
    r"(?:original|forwarded) message|mensaje (?:original|reenviado)|(?:ursprüngliche|weitergeleitete) nachricht"
    r"|message (?:d'origine|transféré)|messaggio (?:originale|inoltrato)|mensagem (?:original|encaminhada)"
    r"|(?:пересылаемое|исходное) сообщение|转发的?邮件|原始邮件|轉寄郵件"
)
_MAIL_HEAD = (
    r"from|to|cc|sent|date|subject|von|an|gesendet|datum|betreff|de|para|enviado|fecha|asunto|à|envoyé|objet|da|inviato"
    r"|oggetto|data|assunto|от|кому|дата|тема|من|إلى|التاريخ|الموضوع|发件人|收件人|日期|主题"
)
_MAIL = re.compile(
    rf"^[ \t]*(?:-{{2,}}|_{{5,}}|begin)[ \t]*(?:{_FORWARDED}).*"
    rf"|^(?:[ \t]*(?:{_MAIL_HEAD})[ \t]*[:：][^\n]*(?:\n|\Z)){{2,}}.*",
    re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
"""A mail from its head on: it goes on to the end, because nothing shows where another's words end."""

_SPEAKER = (
    r"system|developer|assistant|user|human|person|tool|function|bot|ai|sistema|asistente|usuario|système|utilisateur"
    r"|assistent|система|пользователь|النظام|المستخدم|सिस्टम|系统|系統|用户|助手|システム|시스템"
)
_SPOKEN = re.compile(
    rf"^[ \t]*\W{{0,4}}(?:{_SPEAKER})\b(?:[ \t]+\w+){{0,2}}[^\w\n:：]{{0,4}}[:：][^\n]*(?:\n(?![ \t]*\n)[^\n]*)*",
    re.MULTILINE | re.IGNORECASE,
)
"""What is laid out as somebody's part in a dialogue, up to the next blank line."""

_TAGGED = re.compile(
    r"<(?P<name>[a-z]\w{0,29})\b[^<>\n]{0,200}>.{0,2000}?</\s*(?P=name)\s*>"
    r"|</?\s*(?:system|developer|user|assistant|tool|guidance|memory|conversation|message|instructions?|admin)\s*>.*"
    r"|<\|\s*\w+\s*\|>.*|<start_of_turn>.*|\[/?INST\].*|\[SYSTEM_PROMPT\].*|<<SYS>>.*|</s>.*",
    re.DOTALL | re.IGNORECASE,
)
"""What stands between tags, or behind the markers of prompts and chat templates."""

_SHORT = 3
"""Words between quotation marks that are a name or a title, unless somebody says them."""

_SHORT_UNSPACED = 8
"""The same in characters, in scripts without spaces."""

_SAYING = (
    r"said|says?|wrote|writes?|written|told|tells|asked|answered|replied|texted|emailed|posted|sagt|sagte|gesagt|schrieb"
    r"|schreibt|geschrieben|meinte|dijo|dice|dijiste|escribi[oó]|escribe|cont[oó]|dit|dites|[ée]crit|r[ée]pondu|detto"
    r"|scritto|scrive|disse|disseram|diz|escreveu|escreve|сказала?|говорит|написала?|пишет|قالت?|كتبت?|يقول|تقول"
)
_SAYING_UNSPACED = "说|說|写道|寫道|言った|書いた|말했다"
_TASK = (
    r"translate|proofread|rewrite|rephrase|paraphrase|summari[sz]e|following"
    r"|(?:correct|edit|improve|review|check|fix) (?:this|the|my)|übersetze?n?|korrigiere?n?|umformulieren?"
    r"|zusammenfassen|folgende\w*|traduce|traducir|traduzca|corrige|resume|reescribe|siguiente|traduis|traduisez"
    r"|corrigez|résume[rz]?|suivante?|traduci|traduca|correggi|riassumi|seguente|traduza|traduz|corrija|resuma"
    r"|seguinte|переведите?|исправьте?|перескажите?|следующ\w+|ترجم|صحح|لخص|التالي"
)
_TASK_UNSPACED = "翻译|翻譯|润色|潤色|总结|總結|改写|改寫|翻訳|要約|번역|요약"
_LEAD = re.compile(
    rf"(?:\b(?:{_SAYING})\b|{_SAYING_UNSPACED}|(?P<task>\b(?:{_TASK})\b|{_TASK_UNSPACED}))"
    r"[^.!?。！？:：\n]{0,80}[:：](?!\d|//)\s*",
    re.IGNORECASE,
)
_SAYS = re.compile(rf"(?:[:：,，]|\b(?:{_SAYING})\b|{_SAYING_UNSPACED})\s*$", re.IGNORECASE)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_BETWEEN_MARKS = re.compile(
    "|".join(
        rf"{opening}(?:[^{opening}{closing}\n]|\n(?![ \t]*\n))*[{closing}]"
        for opening, closing in (
            ("“", "”"),
            ("„", "“”"),
            ("«", "»"),
            ("「", "」"),
            ("『", "』"),
            ('"', '"'),
            ("`", "`"),
        )
    )
    + r"|(?<!\w)['‘](?=\w)(?:[^'’\n]|(?<=\w)['’](?=\w))*['’](?!\w)"
)


def quoted(words: str, text: str) -> str:
    """`words` if they occur in `text` as whole words, else an empty string.

    Case, spacing and kinds of quotation mark do not count.
    """
    plain = plain_quote(words)
    return words.strip().strip("\"'“”«»") if plain and before(plain, text) is not None else ""


def plain_quote(words: str) -> str:
    """Words as they are compared with a text, without what stands around them."""
    return _plain(words).strip("\"'.…。। ")


def before(plain: str, text: str) -> str | None:
    """What stands in a text before a `plain_quote`, in plain spelling; None if it is not there as whole words."""
    whole = f" {_plain(text)} "
    place = whole.find(plain)
    while place > 0 and (_joined(whole[place - 1], plain[0]) or _joined(plain[-1], whole[place + len(plain)])):
        place = whole.find(plain, place + 1)
    return whole[1:place] if place > 0 else None


def own_words(message: str) -> str:
    """What the person says in a message themselves, long ones cut in their middle.

    Without cited lines, code, mails, dialogues, what stands between tags or quotation marks (but for names and titles
    of a few words), and what somebody "wrote:" or is to be translated, corrected or summed up; `GAP` stands for each.
    """
    if len(message) > LONGEST:
        message = f"{message[: LONGEST // 2]}\n\n{GAP}\n\n{message[-LONGEST // 2 :]}"
    text = without_invisible(message)
    for pasted in (_FENCED, _HIDDEN, _TAGGED, _CITED, _MAIL, _SPOKEN):
        text = pasted.sub(f"{GAP}\n", text)
    return _without_introduced(_BETWEEN_MARKS.sub(_kept_if_name, text))


def persons_words(turn: Turn) -> str:
    """Everything that the person wrote in this conversation."""
    return "\n".join(message.text for message in turn.messages if message.role == "user")


def _kept_if_name(found: re.Match[str]) -> str:
    words = found[0]
    is_short = len(words) <= _SHORT_UNSPACED if is_unspaced(words) else len(words.split()) <= _SHORT
    said = _SAYS.search(found.string[max(0, found.start() - 30) : found.start()])
    return words if is_short and not said else GAP


def _without_introduced(text: str) -> str:
    """Without what a colon introduces as another's words, up to the next blank line, or as the matter of a task."""
    kept: list[str] = []
    place = 0
    while lead := _LEAD.search(text, place):
        kept.append(text[place : lead.end()])
        place = lead.end()
        if not text.startswith(GAP, place):
            end = None if lead["task"] else _BLANK_LINE.search(text, place)
            place = end.start() if end else len(text)
            kept.append(GAP)
    return "".join([*kept, text[place:]])


def _joined(one: str, other: str) -> bool:
    """Whether two characters side by side belong to one word. Where none are spaced, nothing shows where words end."""
    return one.isalnum() and other.isalnum() and not is_unspaced(one) and not is_unspaced(other)


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", without_invisible(text).translate(_MARKS)).casefold()
    return re.sub(r"\s+", " ", folded).strip()
