"""The program as a person uses it: real processes where a terminal, a pipe or a signal matters, `main` elsewhere."""

import asyncio
import json
import logging
import os
import pty
import re
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
import structlog

from mentalize.cli.conversation import read_context
from mentalize.cli.graph import trace_schema
from mentalize.cli.main import main
from mentalize.cli.options import EffortName, MemoryName
from mentalize.types import Effort, MemoryMode
from openai_server import OpenAIServer, Reply

PROGRAM = (sys.executable, "-m", "mentalize.cli")
FAKE = ("--model", "fake")
FAKE_REPLY = "Thank you for telling me. I would like to hear more about it."


@pytest.fixture(autouse=True)
def own_logging(tmp_path, monkeypatch):
    """`main` configures logging for a whole process; give the process of the tests its own back."""
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    logging.getLogger("mentalize").setLevel(logging.NOTSET)
    structlog.reset_defaults()


def run(*arguments: str | bytes, stdin: str | bytes = b"", **environment: str) -> subprocess.CompletedProcess[str]:
    given = stdin if isinstance(stdin, bytes) else stdin.encode()
    done = subprocess.run(
        [*PROGRAM, *arguments], input=given, capture_output=True, env={**os.environ, **environment}, timeout=60
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def context(content: object, name: str = "context.json") -> str:
    Path(name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return name


def told(capsys) -> str:
    """What stderr says, which is one plain line."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert captured.err.startswith("mentalize: ")
    assert captured.err.count("\n") == 1
    return captured.err


# --- ask --------------------------------------------------------------------------------------------------


def test_ask_prints_the_reply_and_nothing_else():
    done = run("ask", "hello", *FAKE)
    assert (done.returncode, done.stdout, done.stderr) == (0, FAKE_REPLY + "\n", "")


@pytest.mark.parametrize("arguments", [("ask", *FAKE), ("ask", "-", *FAKE)])
def test_ask_reads_a_pipe(arguments):
    done = run(*arguments, "--effort", "none", "--json", stdin=b"from the \xff pipe\n")
    assert json.loads(done.stdout)["text"] == "from the \ufffd pipe"


def test_ask_json_is_one_document_that_fits_the_schema(capsys):
    assert main(["ask", "I'm fine. Go without me, really.", "--json", "--effort", "medium", *FAKE]) == 0
    trace = json.loads(capsys.readouterr().out)
    jsonschema.validate(trace, trace_schema())
    assert trace["effort"] == "medium"
    assert trace["reply"]
    assert trace["requests"]
    assert trace["stages"]


def test_ask_why_shows_the_reasoning(capsys):
    assert main(["ask", "I'm fine. Go without me, really.", "--why", "--effort", "medium", *FAKE]) == 0
    out = capsys.readouterr().out
    for part in ("Why this reply", "effort: medium", "Perceived", "Hypotheses", "Plan", "Drafts", "Cost", "Stages"):
        assert part in out
    assert max(map(len, out.splitlines()[2:])) <= 80


@pytest.mark.parametrize("effort", get_args(EffortName))
def test_every_effort_answers(effort, capsys):
    assert main(["ask", "hello", "--effort", effort, *FAKE]) == 0
    assert capsys.readouterr().out.strip()


def test_the_names_on_the_command_line_are_those_of_the_types():
    assert set(get_args(EffortName)) == set(Effort)
    assert set(get_args(MemoryName)) == set(MemoryMode)


MESSAGES = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]


@pytest.mark.parametrize(
    "content",
    [
        MESSAGES,
        {"messages": MESSAGES, "model": "x"},
        "\n".join(map(json.dumps, MESSAGES)) + "\n\n",
        "\ufeff" + json.dumps(MESSAGES),
    ],
)
def test_a_context_in_any_of_its_forms(content):
    assert [message.as_openai() for message in read_context(context(content))] == MESSAGES


async def test_a_context_goes_before_the_message():
    async with OpenAIServer(Reply(text="ok")) as server:
        done = await asyncio.to_thread(
            run, "ask", "three", "--context", "-", "--effort", "none",
            "--model", "hosted_vllm/scripted", "--base-url", server.base_url, stdin=json.dumps(MESSAGES),
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "ok\n")
    said = [(message["role"], message["content"]) for message in server.requests[-1].body["messages"]]
    assert said == [("user", "one"), ("assistant", "two"), ("user", "three")]


def test_a_context_that_ends_with_the_person_needs_no_text(capsys):
    assert main(["ask", "--context", context(MESSAGES[:1]), "--json", "--effort", "none", *FAKE]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == "one"


# --- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_an_empty_message_is_refused(text, capsys):
    assert main(["ask", text, *FAKE]) == 2
    assert "empty" in told(capsys)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no messages"),
        ("[]", "holds no messages"),
        ("{oops", "not JSON"),
        ('{"role": "user", "content": "a"}\n{oops', "line 2 is not JSON"),
        ("3", "holds no list of messages"),
        ('{"messages": {}}', "holds no list of messages"),
        ('["hello"]', "message 1 is not an object"),
        ('[{"role": "robot", "content": "a"}]', "message 1: `role`"),
        ('[{"role": "user", "content": "a"}, {"content": "b"}]', "message 2: `role`"),
        ('[{"role": "user", "content": 5}]', "message 1: `content`"),
        ("[" * 100_000, "nested too deeply"),
        ('[{"role": "user", "content": ' + "[" * 700 + "]" * 700 + "}]", "message 1"),
    ],
)
def test_a_context_that_cannot_be_used_is_told(content, said, capsys):
    assert main(["ask", "hello", "--context", context(content), *FAKE]) == 2
    assert said in told(capsys)


def test_an_unknown_role_is_told_the_known_ones(capsys):
    assert main(["ask", "hello", "--context", context([{"role": "robot", "content": "a"}]), *FAKE]) == 2
    assert "'assistant'" in told(capsys)


def test_a_context_that_is_not_there_or_not_text(capsys):
    assert main(["ask", "hello", "--context", "gone.json", *FAKE]) == 2
    assert "gone.json cannot be read: No such file" in told(capsys)
    assert main(["ask", "hello", "--context", ".", *FAKE]) == 2
    assert "cannot be read" in told(capsys)
    Path("binary").write_bytes(b"\xff\xfe\x00\x80")
    assert main(["ask", "hello", "--context", "binary", *FAKE]) == 2
    assert "not UTF-8" in told(capsys)


def test_a_context_that_ends_with_the_assistant_needs_text():
    done = run("ask", "--context", context(MESSAGES), *FAKE)
    assert done.returncode == 2
    assert "empty" in done.stderr


def test_standard_input_cannot_be_both(capsys):
    assert main(["ask", "-", "--context", "-", *FAKE]) == 2
    assert "--context" in told(capsys)


def test_lone_surrogates_and_broken_bytes_are_replaced(capsys):
    done = run("ask", b"broken \xff byte", "--json", "--effort", "none", *FAKE)
    assert json.loads(done.stdout)["text"] == "broken \ufffd byte"
    escaped = context('[{"role": "user", "content": [{"type": "text", "text": "half \\ud83d emoji"}]}]')
    assert main(["ask", "--context", escaped, "--json", "--effort", "none", *FAKE]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == "half \ufffd emoji"


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask", "hello", "--effort", "huge"],
        ["asc"],
        ["ask", "hello", "--wy"],
        ["graph", "--effort", "x"],
        ["models", "x"],
    ],
)
def test_an_unknown_effort_command_or_option_is_wrong_use(arguments, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    if "huge" in arguments:
        assert "minimal" in captured.err


def test_settings_and_models_that_do_not_resolve_are_told(capsys, monkeypatch):
    assert main(["ask", "hello", "--model", "embeded"]) == 1
    assert "Did you mean embedded" in told(capsys)
    assert main(["ask", "hello", "--config", "gone.toml"]) == 1
    assert "gone.toml" in told(capsys)
    monkeypatch.setenv("MENTALIZE_EFORT", "low")
    assert main(["ask", "hello", *FAKE]) == 1
    assert "Did you mean MENTALIZE_EFFORT" in told(capsys)


def test_an_endpoint_that_is_not_there_is_told(capsys):
    nobody = ("--model", "hosted_vllm/x", "--base-url", "http://127.0.0.1:9/v1")
    assert main(["ask", "hello", "--effort", "none", *nobody]) == 1
    assert "127.0.0.1:9" in told(capsys)


def test_debug_shows_the_traceback(capsys):
    assert main(["ask", "", "--debug", *FAKE]) == 2
    assert "Traceback" in capsys.readouterr().err


async def test_what_a_model_writes_cannot_command_the_terminal():
    async with OpenAIServer(Reply(text="\x1b[31mred\x1b]0;title\x07 [bold]x[/bold] \x9b2J.")) as server:
        done = await asyncio.to_thread(
            run, "ask", "hello", "--effort", "none", "--why",
            "--model", "hosted_vllm/scripted", "--base-url", server.base_url,
        )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.startswith("red [bold]x[/bold] .\n")
    assert not set("\x1b\x07\x9b") & set(done.stdout)


def test_a_reader_that_goes_away_is_no_error_worth_a_traceback():
    with subprocess.Popen([*PROGRAM, "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.close()
        assert b"Traceback" not in program.stderr.read()


# --- chat -------------------------------------------------------------------------------------------------


def test_chat_through_a_pipe():
    lines = ["/why", "hello", "/effort", "/effort huge", "/effort none", "again", "/save said.json", "/why", "/clear"]
    done = run("chat", *FAKE, stdin="\n".join([*lines, "/save empty.json", "/nonsense", "/quit", "never said"]))
    assert done.returncode == 0
    assert done.stdout.count(FAKE_REPLY + "\n") == 2
    for expected in (
        "Effort: auto.",
        "Effort: none.",
        "Saved 4 messages",
        "effort: none",
        "Forgotten.",
        "Saved 0 messages",
    ):
        assert expected in done.stdout
    for expected in ("There is no reply yet", "There is no effort 'huge'", "There is no command /nonsense"):
        assert expected in done.stderr
    saved = json.loads(Path("said.json").read_text(encoding="utf-8"))["messages"]
    assert [message["content"] for message in saved] == ["hello", FAKE_REPLY, "again", FAKE_REPLY]


def test_chat_does_not_overwrite_a_file():
    Path("kept.json").write_text("mine")
    done = run("chat", *FAKE, stdin="/save kept.json\n/save no/such/folder.json\n/save\n")
    assert Path("kept.json").read_text() == "mine"
    assert done.stderr.count("mentalize: ") == 3


async def test_chat_sends_the_history_and_outlives_an_error():
    replies = [Reply(text="first"), Reply(status=400, body={"error": {"message": "no"}}), Reply(text="second")]
    async with OpenAIServer(replies) as server:
        done = await asyncio.to_thread(
            run, "chat", "--effort", "none", "--model", "hosted_vllm/scripted", "--base-url", server.base_url,
            stdin="one\ntwo\nthree\n",
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "first\nsecond\n")
    assert done.stderr.count("mentalize: ") == 1
    assert [message["content"] for message in server.requests[-1].body["messages"]] == ["one", "first", "three"]


async def test_ctrl_c_stops_the_turn_and_not_the_program():
    def script(body):
        return Reply(never=True) if body["messages"][-1]["content"] == "stall" else Reply(text="awake")

    async with OpenAIServer(script) as server:
        program = await asyncio.create_subprocess_exec(
            *PROGRAM, "chat", "--effort", "none", "--model", "hosted_vllm/scripted", "--base-url", server.base_url,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert program.stdin is not None
        program.stdin.write(b"stall\n")
        assert await server.received(within=20)
        program.send_signal(signal.SIGINT)
        assert await server.disconnected(within=5)
        out, errors = await asyncio.wait_for(program.communicate(b"hello\n"), 20)
    assert program.returncode == 0
    assert out.decode().split("\n")[-3:] == ["(stopped)", "awake", ""]
    assert errors == b""


async def test_ctrl_c_ends_ask_quietly():
    async with OpenAIServer(Reply(never=True)) as server:
        program = await asyncio.create_subprocess_exec(
            *PROGRAM, "ask", "hello", "--effort", "none", "--model", "hosted_vllm/x", "--base-url", server.base_url,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert await server.received(within=20)
        program.send_signal(signal.SIGINT)
        out, errors = await asyncio.wait_for(program.communicate(), 20)
    assert (program.returncode, out, errors) == (130, b"", b"")


def test_ctrl_c_while_a_pipe_is_waited_for():
    with subprocess.Popen([*PROGRAM, "chat", *FAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(b"hello\n")
        program.stdin.flush()
        assert program.stdout.readline().decode() == FAKE_REPLY + "\n"
        # A turn that has just shown its reply may still own Ctrl-C; once a command was answered, none does.
        program.stdin.write(b"/effort\n")
        program.stdin.flush()
        assert program.stdout.readline() == b"Effort: auto.\n"
        program.send_signal(signal.SIGINT)
        assert program.wait(10) == 130


def test_chat_on_a_terminal():
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update({"TERM": "xterm", "COLUMNS": "80", "LINES": "24"})
        os.execv(PROGRAM[0], [*PROGRAM, "chat", *FAKE])
    try:
        screen = Screen(terminal)
        screen.until("you>")
        os.write(terminal, b"hello\r")
        screen.until(FAKE_REPLY)
        screen.until("you>")
        os.write(terminal, b"/effort none\r")
        screen.until("Effort: none.")
        screen.until("you>")
        os.write(terminal, b"\x03")
        screen.until("you>")
        os.write(terminal, b"\x04")
        assert screen.ends()
        _, status = os.waitpid(child, 0)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0


class Screen:
    """What a program wrote to its terminal, without the sequences that move the cursor."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._text = ""

    def until(self, expected: str) -> None:
        while expected not in self._text:
            written = self._read()
            assert written, f"{expected!r} did not appear; since then: {self._text!r}"
            # The prompt asks the terminal where the cursor is, and waits for the answer.
            if "\x1b[6n" in written:
                os.write(self._terminal, b"\x1b[1;1R")
            self._text += re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", written)
        self._text = self._text.partition(expected)[2]

    def ends(self) -> bool:
        """Whether the program leaves its terminal."""
        try:
            while self._read():
                pass
        except OSError:
            return True
        return False

    def _read(self, within: float = 20.0) -> str:
        ready, _, _ = select.select([self._terminal], [], [], within)
        return os.read(self._terminal, 65536).decode(errors="replace") if ready else ""


# --- memory -----------------------------------------------------------------------------------------------

CAT = "My cat is called Miso."


@pytest.fixture
def instant(monkeypatch):
    monkeypatch.setenv("MENTALIZE_MEMORY__EMBEDDER", "fake")
    return Path(os.environ["XDG_DATA_HOME"]) / "mentalize" / "memory.db"


def recalled(capsys, *arguments: str) -> list[str]:
    """What `ask` recalls about the cat."""
    capsys.readouterr()
    assert main(["ask", "What is my cat Miso like?", "--effort", "minimal", "--json", *FAKE, *arguments]) == 0
    recollection = json.loads(capsys.readouterr().out)["recollection"] or {"hits": []}
    return [hit["memory"]["text"] for hit in recollection["hits"]]


def test_what_is_said_in_a_chat_is_remembered_later_and_for_that_person_alone(instant, capsys):
    done = run("chat", *FAKE, "--user", "ana", "--effort", "minimal", stdin=f"{CAT}\n/clear\nhow is Miso?\n/memory\n")
    assert (done.returncode, done.stderr) == (0, "")
    shown = " ".join(done.stdout.split())
    assert f"turn: {CAT}" in shown
    assert "shares 'miso'" in shown
    assert "What is remembered stays" in shown
    assert CAT in recalled(capsys, "--user", "ana")
    assert CAT not in recalled(capsys, "--user", "ben")
    assert CAT not in recalled(capsys, "--user", "ana", "--tenant", "shop")
    assert CAT not in recalled(capsys, "--user", "ana", "--memory", "off")


def test_without_a_person_nothing_is_written(instant, capsys):
    assert main(["ask", CAT, *FAKE]) == 0
    run("chat", *FAKE, stdin=f"{CAT}\n/memory\n")
    assert not instant.exists()


def test_read_only_memory_is_not_written(instant, capsys):
    assert main(["ask", CAT, *FAKE, "--user", "ana", "--memory", "read-only"]) == 0
    capsys.readouterr()
    assert main(["memory", "list", "--user", "ana"]) == 2
    assert "Nothing is remembered about ana" in told(capsys)


def test_a_broken_memory_does_not_stop_the_talk(instant, capsys):
    instant.parent.mkdir(parents=True)
    instant.write_bytes(b"no database at all" * 999)
    assert main(["ask", CAT, *FAKE, "--user", "ana", "--effort", "minimal"]) == 0
    captured = capsys.readouterr()
    assert captured.out == FAKE_REPLY + "\n"
    assert "Going on without memory." in captured.err
    assert "Miso" not in captured.err
    assert instant.read_bytes() == b"no database at all" * 999


@pytest.mark.parametrize("arguments", [["--session", "s"], ["--memory", "on"]])
def test_memory_without_a_person_is_wrong_use(arguments, capsys):
    assert main(["ask", CAT, *FAKE, *arguments]) == 2
    assert "Add --user" in told(capsys)


async def test_ctrl_c_after_the_reply_leaves_the_rest_for_later(instant):
    """The model answers the person, and then never what it is asked in the background."""
    replies = [Reply(text="hi there"), Reply(never=True)]
    async with OpenAIServer(replies) as server:
        program = await asyncio.create_subprocess_exec(
            *PROGRAM, "ask", CAT, "--user", "ana", "--effort", "minimal",
            "--model", "hosted_vllm/scripted", "--base-url", server.base_url,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert program.stdout is not None
        assert await asyncio.wait_for(program.stdout.readline(), 20) == b"hi there\n"
        assert await server.received(within=20)
        await asyncio.sleep(0.5)
        program.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(program.communicate(), 20)
    assert (program.returncode, errors) == (0, b"mentalize: The rest is remembered at the next start.\n")


# --- the others -------------------------------------------------------------------------------------------


def test_doctor_shows_settings_their_origins_and_the_models(capsys, monkeypatch):
    monkeypatch.setenv("MENTALIZE_API_KEY", "sk-secret")
    Path("mentalize.toml").write_text('retries = 5\nbase_url = "http://me:hush@127.0.0.1:1/v1"', encoding="utf-8")
    assert main(["doctor", *FAKE]) == 0
    out = capsys.readouterr().out
    assert re.search(r"retries\s+5\s+file mentalize.toml", out)
    assert re.search(r"model\s+fake\s+argument", out)
    assert re.search(r"effort\s+auto\s+default", out)
    assert re.search(r"api_key\s+\*+\s+environment\s+MENTALIZE_API_KEY", out)
    assert "sk-secret" not in out
    assert "hush" not in out
    for role in ("reason", "judge", "write"):
        assert re.search(rf"{role}\s+fake\s+yes", out)


def test_doctor_shows_where_memory_is_and_makes_nothing(instant, capsys, monkeypatch):
    assert main(["doctor", *FAKE]) == 0
    out = capsys.readouterr().out
    for expected in (
        r"embedder\s+fake\s+yes\s+\d+ dimensions",
        r"database\s+sqlite:///",
        "made when something is first",
    ):
        assert re.search(expected, " ".join(out.split())), expected
    assert not instant.parent.exists()
    assert main(["ask", "hello", *FAKE, "--user", "ana"]) == 0
    monkeypatch.setenv("MENTALIZE_MEMORY__EMBEDDER", "minilmm")
    capsys.readouterr()
    assert main(["doctor", *FAKE]) == 1
    assert "'minilmm' names no embedder. Did you mean minilm?" in " ".join(capsys.readouterr().out.split())


def test_doctor_fails_where_the_database_cannot_be_read(instant, capsys):
    instant.parent.mkdir(parents=True)
    instant.write_bytes(b"no database at all" * 999)
    assert main(["doctor", *FAKE]) == 1
    assert "The database of memory cannot be used: The memory database" in " ".join(capsys.readouterr().out.split())


def test_doctor_fails_with_the_reason_when_a_role_cannot_work(capsys):
    nobody = ("--model", "hosted_vllm/x", "--base-url", "http://127.0.0.1:9/v1")
    assert main(["doctor", *nobody]) == 1
    out = capsys.readouterr().out
    assert re.search(r"judge cannot work: .*127\.0\.0\.1:9", out)


@pytest.mark.parametrize("effort", [effort for effort in get_args(EffortName) if effort != "auto"])
def test_graph_prints_mermaid(effort, capsys):
    assert main(["graph", "--effort", effort]) == 0
    out = capsys.readouterr().out
    assert "graph TD" in out
    assert "write" in out


def test_graph_of_auto_is_refused(capsys):
    assert main(["graph", "--effort", "auto"]) == 2
    assert "auto" in told(capsys)


def test_the_published_schema_is_current(capsys):
    assert main(["schema"]) == 0
    published = Path(__file__).parent.parent / "docs/trace.schema.json"
    assert capsys.readouterr().out == published.read_text(encoding="utf-8"), (
        "Run `mentalize schema > docs/trace.schema.json`."
    )


def test_prompts_are_listed_shown_and_ejected(capsys):
    assert main(["prompts", "list"]) == 0
    assert re.search(r"^write +\d+#[0-9a-f]{8} +mentalize$", capsys.readouterr().out, re.MULTILINE)
    assert main(["prompts", "eject", "write", "mine"]) == 0
    capsys.readouterr()
    Path("mentalize.toml").write_text('prompts = ["mine"]', encoding="utf-8")
    ejected = Path("mine/write.md")
    ejected.write_text(ejected.read_text(encoding="utf-8") + "\nBe brief.\n", encoding="utf-8")
    assert main(["prompts", "show", "write"]) == 0
    assert capsys.readouterr().out.endswith("Be brief.\n")
    assert main(["prompts", "eject", "write", "mine"]) == 1
    assert "exists" in told(capsys)
    assert main(["prompts", "show", "nope"]) == 1
    assert "There is no prompt 'nope'" in told(capsys)


def test_models_are_listed(capsys):
    assert main(["models", "list"]) == 0
    assert "Apache-2.0" in capsys.readouterr().out


def test_help_and_version_need_none_of_the_dear_imports():
    code = (
        "import sys; from mentalize.cli.main import main; main(sys.argv[1:]);"
        "dear = ('pydantic', 'langgraph', 'litellm', 'aiohttp', 'mentalize.mind');"
        "print([name for name in dear if name in sys.modules])"
    )
    for argument in ("--help", "--version"):
        done = subprocess.run([sys.executable, "-c", code, argument], capture_output=True, text=True, check=True)
        assert done.stdout.endswith("[]\n")


def test_help_names_every_command():
    out = run("--help").stdout
    for command in ("ask", "chat", "doctor", "graph", "schema", "models", "prompts"):
        assert re.search(rf"^. {command} ", out, re.MULTILINE)
