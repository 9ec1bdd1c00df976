"""Words of the calendar, as `terms.fold` makes them: English, Spanish, French, German, Portuguese, Italian, Arabic.

Chinese and Japanese number their months and have patterns of their own in `times`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

Unit = Literal["day", "weekend", "week", "month", "year"]

_MONTHS = """
january february march april may june july august september october november december
enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre
janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre
januar februar marz april mai juni juli august september oktober november dezember
janeiro fevereiro marco abril maio junho julho agosto setembro outubro novembro dezembro
gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre
يناير فبراير مارس ابريل مايو يونيو يوليو اغسطس سبتمبر اكتوبر نوفمبر ديسمبر
جانفي فيفري اذار نيسان ايار حزيران تموز اب ايلول تشرين_الاول تشرين_الثاني كانون_الاول
jan feb mar apr may jun jul aug sept oct nov dec
"""

_WEEKDAYS = """
monday tuesday wednesday thursday friday saturday sunday
lunes martes miercoles jueves viernes sabado domingo
lundi mardi mercredi jeudi vendredi samedi dimanche
montag dienstag mittwoch donnerstag freitag samstag sonntag
segunda_feira terca_feira quarta_feira quinta_feira sexta_feira sabado domingo
lunedi martedi mercoledi giovedi venerdi sabato domenica
الاثنين الثلاثاء الاربعاء الخميس الجمعه السبت الاحد
الاثنين الثلاثاء الاربعاء الخميس الجمعة السبت الاحد
"""

_SEASONS = """
winter spring summer autumn
winter spring summer fall
invierno primavera verano otono
hiver printemps ete automne
winter fruhling sommer herbst
inverno primavera verao outono
inverno primavera estate autunno
الشتاء الربيع الصيف الخريف
"""


def _numbered(table: str, first: int) -> Mapping[str, int]:
    rows = (line.split() for line in table.strip().splitlines())
    return {name.replace("_", " "): number for row in rows for number, name in enumerate(row, first)}


MONTHS = _numbered(_MONTHS, 1)
"""January is 1."""

_AMBIGUOUS = "may march mars mar marco jan dec nov sept oct jun jul aug apr feb اب mai"
AMBIGUOUS_MONTHS = frozenset(_AMBIGUOUS.split())
"""Also other words: a month only beside a day, a year or a word such as "in"."""

WEEKDAYS = _numbered(_WEEKDAYS, 0)
"""Monday is 0."""

SEASONS = _numbered(_SEASONS, 0)
"""Winter is 0, in the northern hemisphere."""

_UNITS: Mapping[Unit, str] = {
    "day": "day days dia dias jour jours tag tage tagen giorno giorni يوم ايام يوما",
    "week": "week weeks semana semanas semaine semaines woche wochen settimana settimane اسبوع اسابيع",
    "month": "month months mes meses mois monat monate monaten mese mesi شهر اشهر شهور",
    "year": "year years ano anos an ans annee annees jahr jahre jahren anno anni سنة سنوات عام اعوام",
}

UNITS: Mapping[str, Unit] = {word: unit for unit, words in _UNITS.items() for word in words.split()}

NUMBERS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "couple of": 2,
    "un": 1, "una": 1, "uno": 1, "dos": 2, "tres": 3, "cuatro": 4, "cinco": 5, "seis": 6, "siete": 7, "ocho": 8,
    "nueve": 9, "diez": 10,
    "une": 1, "deux": 2, "trois": 3, "quatre": 4, "cinq": 5, "sept": 7, "huit": 8, "neuf": 9, "dix": 10,
    "ein": 1, "eine": 1, "einem": 1, "einer": 1, "zwei": 2, "drei": 3, "vier": 4, "funf": 5, "sechs": 6, "sieben": 7,
    "um": 1, "uma": 1, "dois": 2, "duas": 2, "quatro": 4, "sete": 7, "oito": 8, "nove": 9, "dez": 10,
    "due": 2, "tre": 3, "quattro": 4, "cinque": 5, "sei": 6, "sette": 7, "otto": 8, "dieci": 10,
    "ثلاثة": 3, "اربعة": 4, "خمسة": 5, "ستة": 6, "سبعة": 7, "ثمانية": 8, "تسعة": 9, "عشرة": 10, "ثلاث": 3,
}  # fmt: skip

EAST_UNITS: Mapping[str, Unit] = {
    "天": "day", "日": "day", "周": "week", "星期": "week", "个星期": "week", "週間": "week",
    "个月": "month", "か月": "month", "ヶ月": "month", "年": "year",
}  # fmt: skip
"""Units of Chinese and Japanese."""

_EAST_WEEKDAYS = ("一二三四五六日", "月火水木金土日", "      天")
EAST_WEEKDAYS = {day: number for days in _EAST_WEEKDAYS for number, day in enumerate(days)}

RELATIVE: Mapping[tuple[Unit, int], Sequence[str]] = {
    ("day", 0): (
        "today", "tonight", "this morning", "this afternoon", "this evening", "hoy", "esta manana",
        "aujourd hui", "heute", "hoje", "oggi", "اليوم", "今天", "今早", "今晚", "今日",
    ),
    ("day", -1): (
        "yesterday", "last night", "ayer", "anoche", "hier", "gestern", "ontem", "ieri", "امس",
        "البارحة", "昨天", "昨晚", "昨日",
    ),
    ("day", -2): (
        "day before yesterday", "anteayer", "antier", "antes de ayer", "avant hier", "vorgestern",
        "anteontem", "altro ieri", "اول امس", "قبل يومين", "منذ يومين", "前天", "一昨日", "おととい",
    ),
    ("day", -3): ("大前天",),
    ("weekend", -1): (
        "last weekend", "over the weekend", "fin de semana pasado", "week end dernier",
        "letztes wochenende", "fim de semana passado", "fine settimana scorso", "weekend scorso",
        "上周末", "上个周末", "先週末",
    ),
    ("week", 0): (
        "this week", "esta semana", "cette semaine", "diese woche", "questa settimana",
        "هذا الاسبوع", "这周", "这个星期", "本周", "今週",
    ),
    ("week", -1): (
        "last week", "past week", "previous week", "semana pasada", "semaine derniere",
        "letzte woche", "letzten woche", "semana passada", "settimana scorsa", "الاسبوع الماضي",
        "قبل اسبوع", "上周", "上星期", "上个星期", "上礼拜", "先週",
    ),
    ("week", -2): ("week before last", "قبل اسبوعين", "منذ اسبوعين", "上上周", "先々週"),
    ("month", 0): (
        "this month", "este mes", "ce mois", "diesen monat", "questo mese", "هذا الشهر", "这个月",
        "本月", "今月",
    ),
    ("month", -1): (
        "last month", "past month", "previous month", "mes pasado", "mois dernier", "letzten monat",
        "mes passado", "mese scorso", "الشهر الماضي", "قبل شهر", "上个月", "上月", "先月",
    ),
    ("month", -2): ("قبل شهرين", "منذ شهرين"),
    ("year", 0): (
        "this year", "este ano", "cette annee", "dieses jahr", "quest anno", "هذا العام",
        "هذه السنة", "今年",
    ),
    ("year", -1): (
        "last year", "previous year", "ano pasado", "annee derniere", "an dernier", "letztes jahr",
        "ano passado", "anno scorso", "العام الماضي", "السنة الماضية", "去年", "昨年",
    ),
    ("year", -2): ("前年", "一昨年", "قبل عامين", "قبل سنتين"),
}  # fmt: skip
"""How many units before this one."""

AGO = ("hace", "il y a", "vor", "ha", "قبل", "منذ")
"""Stand before "three days", as "ago" stands after it."""
AGO_AFTER = ("ago", "atras", "fa", "back", "earlier")

INSIDE = (
    "in", "during", "since", "last", "this", "early", "late", "mid", "of", "en", "durante", "em", "im", "au mois de",
    "في", "شهر",
)  # fmt: skip
"""Words before a month that say that a month is meant."""
