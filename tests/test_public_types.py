"""What is imported from `mentalize` is typed: pyright, in strict mode, knows the types that a user's program gets."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import mentalize

PROGRAM = """
import mentalize
from mentalize import Companion, Identity, Mind, TextDelta


async def turns(mind: Mind) -> None:
    reply = await mind.reply("Hello.", Identity("app", "ana"), effort="low")
    reveal_type(reply.text)  # str
    reveal_type(reply.trace.depth)  # int
    async for event in mind.stream("Hello."):
        if isinstance(event, TextDelta):
            reveal_type(event.text)  # str
    guided = await mind.guide("Hello.")
    reveal_type((await guided.review("Hm.")).accepted)  # bool
    reveal_type((await mind.memory.search(Identity("app", "ana"), "Rome"))[0].memory.text)  # str
    reveal_type(mind.sync.reply("Hello.").text)  # str


async def companions(companion: Companion) -> None:
    ana = companion.person("ana")
    reveal_type((await ana.say("Hello.")).text)  # str
    reveal_type((await ana.topics())[0].score)  # float
    reveal_type(companion.sync.person("ana").say("Hello.").text)  # str


def plain(message: str, loud: bool = False) -> str:
    return message


async def soon(message: str) -> int:
    return len(message)


async def wrapped() -> None:
    reveal_type(mentalize.wrap(plain)("Hello.", loud=True))  # str
    reveal_type(await mentalize.wrap(soon)("Hello."))  # int
    reveal_type(mentalize.wrap(plain).mentalize.mind)  # Mind
"""


def test_a_user_s_program_knows_its_types(tmp_path: Path) -> None:
    names = "".join(f"mentalize.{name}\n" for name in mentalize.__all__)
    (tmp_path / "program.py").write_text(f"# pyright: strict, reportUnusedExpression=false\n{PROGRAM}\n\n{names}")
    ran = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(tmp_path / "program.py")],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = json.loads(ran.stdout)["generalDiagnostics"]
    problems = [one["message"] for one in found if one["severity"] == "error"]
    assert not problems
    revealed = [re.search(r'is "(.+)"$', one["message"]) for one in found if one["severity"] == "information"]
    assert [type_[1] for type_ in revealed if type_] == re.findall(r"  # (\w+)$", PROGRAM, re.MULTILINE)
