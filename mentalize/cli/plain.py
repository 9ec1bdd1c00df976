"""Plain: text of people and models, made fit for a terminal."""

from __future__ import annotations

import re

# Control sequences (CSI, OSC and the other escapes) go whole; so do lone control characters, and the marks that
# reorder text, with which a line can be made to read as something else. Tab and newline stay.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_HIDDEN_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")


def plain(text: str) -> str:
    """The text without terminal control, its lone surrogates replaced by U+FFFD."""
    text = text.replace("\r\n", "\n")
    return whole(_CONTROLS.sub("", _SEQUENCES.sub("", text)))


def one_line(text: str) -> str:
    """The text without terminal control and with every run of white space as one space."""
    return " ".join(plain(text).split())


def whole(text: str) -> str:
    """The text with lone surrogates, which no encoding can carry, replaced by U+FFFD."""
    return _SURROGATES.sub("\ufffd", text)


def safe_json(document: str) -> str:
    """A JSON document whose strings hold nothing that a terminal would obey; its meaning is the same."""
    return _HIDDEN_IN_JSON.sub(lambda match: f"\\u{ord(match.group()):04x}", document)
