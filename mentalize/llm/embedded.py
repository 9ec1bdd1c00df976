"""An instruct model inside this process: llama.cpp by way of xllamacpp, no key, no server, no download.

The runtime's calls block, so they run one after another in the model's own worker thread, and their pieces are
handed back to whichever event loop asked. A request that was cancelled before its turn came never starts; one
that is running stops at its next token, or after the batch of the prompt that it is reading.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import secrets
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from ..errors import MalformedAnswer, ModelError, ModelNotFound, ModelRefused, ModelUnavailable
from ..types import Usage
from .model import Alternative, Capabilities, Choice, Completion, Delta, Given, JsonFormat, Request, StructuredMode
from .weights import default, ensure

__all__ = ["EmbeddedModel", "resolve_embedded"]

PROMPT_BATCH_TOKENS = 128
"""Prompt tokens read between two chances to stop: two to three seconds on two cores. 256 read a prompt of 440 tokens no
faster, and a cancelled one held the model for ten."""

PREFIX_STORE_MIB = 256
"""Memory for prefixes that left the slot, so that two conversations in turn do not evict each other."""

GUESSES_PER_CHOICE = 20
"""Alternatives returned for a choice when the request does not say how many."""

_GUESSES: dict[type, int] = {Choice: GUESSES_PER_CHOICE, Given: 1}

_PARAMETERS = frozenset({
    "frequency_penalty", "logit_bias", "max_completion_tokens", "max_tokens", "min_p", "n", "parallel_tool_calls",
    "presence_penalty", "repeat_penalty", "response_format", "seed", "stop", "temperature", "tool_choice", "tools",
    "top_k", "top_p", "typical_p",
})  # fmt: skip
"""Fields of a client's request that the runtime is given. It has others that no client may set: grammars of their
own, slots and caches, adapters, the chat template, and sizes for which it takes memory at once. All of them would act
on this process, and so on everybody's conversations."""


class EmbeddedModel:
    """A GGUF file, asked in this process.

    The file is loaded on first use, once, whichever thread or event loop comes first. The load holds the
    interpreter for about a second when the file is in the page cache and longer from a cold disk.

    Args:
        path: the GGUF file, or a function that finds or assembles it when it is first needed.
        name: the model string that traces and errors show.
        context: tokens of prompt and answer together; more is refused with `ModelRefused`.
        threads: processor threads for reading prompts; all cores but never fewer than one, if not given.

    Raises (from every method that asks):
        ModelNotFound: xllamacpp is not installed, or there is no file at `path`.
        ModelRefused: the request does not fit the context, or asks what this runtime cannot do.
        ModelUnavailable: the file cannot be loaded, the runtime failed, or the model was closed.
        MalformedAnswer: the answer is not one of the options of a `Choice`.
    """

    def __init__(
        self,
        path: Path | Callable[[], Path],
        *,
        name: str = "embedded",
        context: int = 8192,
        threads: int | None = None,
    ) -> None:
        self._path = path
        self._name = name
        self._context = context
        self._threads = threads or os.cpu_count() or 1
        self._lock = threading.Lock()
        self._worker: ThreadPoolExecutor | None = None
        self._server: Any = None
        self._running: _Generation | None = None
        self._closed = False

    @property
    def name(self) -> str:
        """The model string that names this model."""
        return self._name

    async def capabilities(self) -> Capabilities:
        """Grammar-constrained answers and log-probabilities, whatever the file; it is loaded to be sure of it."""
        await self.load()
        return Capabilities(StructuredMode.GRAMMAR, logprobs=True, likelihoods=True)

    async def complete(self, request: Request) -> Completion:
        """Answer in one piece. Cancelling the task stops the generation."""
        answer = Answer(forced=isinstance(request.format, Given))
        async with contextlib.aclosing(self._pieces(request)) as pieces:
            async for piece in pieces:
                answer.add(piece)
        if isinstance(request.format, Choice):
            _require_option(answer.text, request.format.options)
        return answer.completion(self._name)

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Answer piece by piece as it is written. Closing the iterator stops the generation."""
        usage: Usage | None = None
        finish_reason = "stop"
        async with contextlib.aclosing(self._pieces(request)) as pieces:
            async for piece in pieces:
                usage = _usage(piece) or usage
                choice = _first_choice(piece)
                finish_reason = choice.get("finish_reason") or finish_reason
                if raw := _given(choice.get("delta")):
                    yield Delta(text=raw.get("content", ""), raw=raw)
        yield Delta(finish_reason=finish_reason, usage=usage)

    async def load(self) -> None:
        """Load the file now rather than at the first question."""
        await asyncio.wrap_future(self._submit(self._load_once))

    async def close(self) -> None:
        """Stop what runs and free the memory. Safe to call twice."""
        with self._lock:
            self._closed = True
            worker, self._worker = self._worker, None
            if self._running is not None:
                self._running.stop()
        if worker is not None:
            await asyncio.to_thread(self._release, worker)

    def _release(self, worker: ThreadPoolExecutor) -> None:
        worker.shutdown(wait=True)  # What still waits its turn is told that the model was closed.
        self._server = None

    # --- asking --------------------------------------------------------------------------------------------

    async def _pieces(self, request: Request) -> AsyncGenerator[_Piece, None]:
        """The runtime's chunks, in order, while they are made."""
        generation = _Generation(asyncio.get_running_loop())
        future = self._submit(lambda: self._generate(request, generation))
        try:
            while (piece := await generation.pieces.get()) is not None:
                if isinstance(piece, ModelError):
                    raise piece
                yield piece
        finally:
            generation.stop()
            future.cancel()

    def _submit(self, work: Callable[[], None]) -> Future[None]:
        with self._lock:
            if self._closed:
                raise self._closed_error()
            if self._worker is None:
                self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"mentalize-{self._name}")
            return self._worker.submit(work)

    def _generate(self, request: Request, generation: _Generation) -> None:
        """In the worker: run one request to its end, or until it is stopped."""
        with self._lock:
            if self._closed:
                generation.put(self._closed_error())
                return
            self._running = generation
        try:
            self._load_once()
            self._server.handle_chat_completions(_body(request), generation.receive)
            generation.put(self._closed_error() if self._closed else None)
        except ModelError as error:
            generation.put(error)
        except (TypeError, ValueError, RuntimeError) as error:  # What it says of requests it cannot take.
            generation.put(_refused(str(error), cause=error))
        except Exception as error:
            generation.put(_failed(str(error), cause=error))
        finally:
            self._running = None

    def _load_once(self) -> None:
        if self._server is not None:
            return
        path = self._path() if callable(self._path) else self._path
        if not path.is_file():
            raise ModelNotFound(
                f"There is no model file at {path}.",
                hint="`mentalize models list` shows what is here; `mentalize models pull NAME` fetches one.",
            )
        xllamacpp = _runtime()
        with _private_address() as address:
            try:
                self._server = xllamacpp.Server(self._parameters(xllamacpp, path, address))
            except (RuntimeError, ValueError) as error:
                raise ModelUnavailable(
                    f"{path.name} cannot be loaded: {error}",
                    hint=f"Check it with `mentalize models verify {path}`; it must be a whole GGUF file.",
                ) from error

    def _parameters(self, xllamacpp: Any, path: Path, address: str) -> Any:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.n_ctx = self._context
        parameters.n_parallel = 1
        parameters.n_batch = parameters.n_ubatch = PROMPT_BATCH_TOKENS
        parameters.cache_ram_mib = PREFIX_STORE_MIB
        parameters.cpuparams.n_threads = max(1, self._threads - 1)
        parameters.cpuparams_batch.n_threads = self._threads
        # Repacked weights take 0.6 GB more, read prompts a fifth slower and write a tenth faster.
        parameters.no_extra_bufts = True
        parameters.warmup = False
        parameters.verbosity = -1
        # The runtime insists on listening. Nobody knows the key, and the address is gone once it is up.
        parameters.hostnames = [address]
        parameters.api_keys = [secrets.token_urlsafe(32)]
        parameters.endpoint_slots = False
        parameters.ui = False
        return parameters

    def _closed_error(self) -> ModelUnavailable:
        return ModelUnavailable(f"{self._name} was closed.", hint="Make a new model to ask again.")


_Piece = dict[str, Any]
"""A chunk of a streamed chat completion, as OpenAI's API has it."""


class _Generation:
    """Carries the pieces of one answer from the worker to the event loop that asked."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.pieces: asyncio.Queue[_Piece | ModelError | None] = asyncio.Queue()
        """Ends with None, or with the error that ended it."""
        self._loop = loop
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the generation at its next piece."""
        self._stopped.set()

    def put(self, piece: _Piece | ModelError | None) -> None:
        """From the worker: hand a piece over."""
        try:
            self._loop.call_soon_threadsafe(self.pieces.put_nowait, piece)
        except RuntimeError:  # The loop was closed without cancelling what it waited for.
            self.stop()

    def receive(self, piece: _Piece) -> bool:
        """From the runtime, for each piece: whether to stop."""
        if "error" in piece:
            self.put(_error(piece["error"]))
            return True
        if "prompt_progress" not in piece:
            self.put(piece)
        return self._stopped.is_set()


class Answer:
    """Puts the pieces of a streamed answer together again.

    Args:
        forced: Whether each token was forced, so that it is asked about and not its rivals.
    """

    def __init__(self, *, forced: bool = False) -> None:
        self._forced = forced
        self.message: dict[str, Any] = {"role": "assistant", "content": ""}
        self.finish_reason = "stop"
        self._usage = Usage()
        self._logprobs: list[tuple[Alternative, ...]] = []

    @property
    def text(self) -> str:
        return self.message["content"]

    def add(self, piece: _Piece) -> None:
        self._usage = _usage(piece) or self._usage
        choice = _first_choice(piece)
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        for key, value in _given(choice.get("delta")).items():
            if key == "tool_calls":
                self._add_tool_calls(value)
            elif key != "role":
                self.message[key] = self.message.get(key, "") + value
        for token in _given(choice.get("logprobs")).get("content", []):
            told = [token] if self._forced else token["top_logprobs"]
            alternatives = (Alternative(item["token"], item["logprob"]) for item in told)
            self._logprobs.append(tuple(alternatives))

    def _add_tool_calls(self, deltas: list[dict[str, Any]]) -> None:
        calls = cast("list[dict[str, Any]]", self.message.setdefault("tool_calls", []))
        for delta in deltas:
            index: int = delta["index"]
            if index >= len(calls):
                calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
            call = calls[index]
            call["id"] = delta.get("id") or call["id"]
            for key, part in delta.get("function", {}).items():
                call["function"][key] += part

    def completion(self, model: str) -> Completion:
        return Completion(
            text=self.text,
            finish_reason=self.finish_reason,
            usage=self._usage,
            logprobs=tuple(self._logprobs),
            message=self.message,
            model=model,
        )


def _require_option(text: str, options: tuple[str, ...]) -> None:
    """The runtime ignores a grammar that it cannot read, so the answer is checked; it may be cut short."""
    if not any(option.startswith(text) for option in options):
        raise MalformedAnswer(
            f"The embedded model answered {text!r}, which is none of {', '.join(options)}.",
            hint="Use plain words or single letters as options.",
        )


def _first_choice(piece: _Piece) -> dict[str, Any]:
    choices: list[dict[str, Any]] = piece.get("choices") or [{}]
    return choices[0]


def _given(fields: dict[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (fields or {}).items() if value is not None}


def _usage(piece: _Piece) -> Usage | None:
    usage = piece.get("usage")
    if not usage:
        return None
    cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    return Usage(usage["prompt_tokens"], usage["completion_tokens"], cached)


# --- what the runtime is sent ------------------------------------------------------------------------------


def _body(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = {name: value for name, value in request.parameters.items() if name in _PARAMETERS}
    body["messages"] = [message.as_openai() for message in request.messages]
    for key in ("max_tokens", "temperature", "seed"):
        if (value := getattr(request, key)) is not None:
            body[key] = value
    if request.stop:
        body["stop"] = list(request.stop)
    if guesses := request.top_logprobs or _GUESSES.get(type(request.format)):
        body |= {"logprobs": True, "top_logprobs": guesses}
    match request.format:
        case JsonFormat(mode=StructuredMode.TEXT) | None:
            pass
        case JsonFormat(mode=StructuredMode.JSON_OBJECT):
            body["grammar"] = _json_grammar({"type": "object"})
        case JsonFormat(schema=schema):
            body["grammar"] = _json_grammar(schema)
        case Choice(options=options):
            body["grammar"] = _choice_grammar(options)
        case Given(text=text):
            # Log-probabilities are taken before the grammar forbids all other tokens.
            body["max_tokens"] = len(text.encode()) + 1
            body["grammar"] = f"%llguidance {{}}\nstart: {json.dumps(text, ensure_ascii=False)}"
    # A streamed answer can be stopped, and progress gives that chance while the prompt is still being read.
    return body | {"stream": True, "return_progress": True, "stream_options": {"include_usage": True}}


def _json_grammar(schema: Mapping[str, Any]) -> str:
    return _runtime().json_schema_to_grammar({**_closed(schema), "x-guidance": {"whitespace_flexible": False}})


def _closed(schema: Any) -> Any:
    """The schema with no room for properties it does not name: a small model would fill that room at length."""
    if isinstance(schema, list):
        return [_closed(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, Mapping):
        return schema
    closed = {key: _closed(value) for key, value in cast("Mapping[str, Any]", schema).items()}
    if "properties" in closed and closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def _choice_grammar(options: tuple[str, ...]) -> str:
    return "root ::= " + " | ".join(json.dumps(option, ensure_ascii=False) for option in options)


def _runtime() -> Any:
    """The xllamacpp module, which has no type stubs."""
    # Threads that spin while they wait collapse as soon as another process wants a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return importlib.import_module("xllamacpp")
    except ImportError as error:
        raise ModelNotFound(
            "The embedded model needs xllamacpp, which is not installed.",
            hint="Run `pip install 'mentalize[embedded]'`.",
        ) from error


@contextlib.contextmanager
def _private_address() -> Generator[str]:
    """Where the runtime may listen: a socket file that is removed when it is up; loopback where there are none."""
    if os.name != "posix":
        yield "127.0.0.1"
        return
    with tempfile.TemporaryDirectory(prefix="mentalize-", ignore_cleanup_errors=True) as folder:
        yield str(Path(folder) / "model.sock")


# --- errors ------------------------------------------------------------------------------------------------


def _error(error: Mapping[str, Any]) -> ModelError:
    message = str(error.get("message", error))
    if error.get("type") == "exceed_context_size_error":
        return ModelRefused(
            f"The request has {error.get('n_prompt_tokens')} tokens; the embedded model takes {error.get('n_ctx')}.",
            hint="Shorten the conversation, or give EmbeddedModel a larger context.",
        )
    return _refused(message) if int(error.get("code", 500)) < 500 else _failed(message)


def _refused(message: str, *, cause: Exception | None = None) -> ModelRefused:
    refused = ModelRefused(
        f"The embedded model refused the request: {message.rstrip('.')}.",
        hint="It takes text messages, gives one answer, and follows either tools or a format.",
    )
    refused.__cause__ = cause
    return refused


def _failed(message: str, *, cause: Exception | None = None) -> ModelUnavailable:
    failed = ModelUnavailable(
        f"The embedded model failed: {message.rstrip('.')}.", hint="Ask again; if it persists, start anew."
    )
    failed.__cause__ = cause
    return failed


# --- model strings -----------------------------------------------------------------------------------------


def resolve_embedded(model_string: str, folder: Path | None = None) -> EmbeddedModel:
    """The model that a string names. Its file is found, or assembled from installed packages, when it is first asked.

    Args:
        model_string: `embedded` (what `mentalize models use` chose, else the packaged default), `embedded/NAME`
            (a name of the catalogue) or `embedded/PATH` (`embedded//models/x.gguf`, `embedded/./x.gguf`).
        folder: where model files are kept; the user's cache directory, if not given.

    Raises:
        ModelNotFound: the string does not begin with `embedded`. Every question raises `WeightsError` if the name is
            unknown, or the file is missing, incomplete or altered.
    """
    prefix, _, name = model_string.partition("/")
    if prefix != "embedded":
        raise ModelNotFound(
            f"{model_string!r} does not name an embedded model.", hint="Write `embedded` or `embedded/NAME`."
        )
    return EmbeddedModel(lambda: ensure(name or default(folder), folder), name=model_string)
