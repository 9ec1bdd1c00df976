"""The direct way to OpenAI-compatible servers (vLLM, llama.cpp, and whatever else speaks that format)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

from ..errors import (
    InputError,
    MalformedAnswer,
    ModelError,
    ModelNotFound,
    ModelRateLimited,
    ModelRefused,
    ModelTimeout,
    ModelUnauthorized,
    ModelUnavailable,
)
from .events import EventParser
from .model import Capabilities, Choice, Completion, Delta, Given, Request
from .probe import CapabilityCache, probe
from .relay import Exchange, in_one_piece
from .wire import ChunkReader, as_mapping, completion_of, given_tokens, parsed, request_body

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

__all__ = ["OpenAICompatibleModel", "error_of", "retry_after"]

_CONNECT_SECONDS = 10.0
_END_SECONDS = 0.5
_RELAY_SECONDS = 600.0
"""The longest silence of an endpoint to which a client's own request was handed on; OpenAI's clients wait as long."""
_LONGEST_MESSAGE = 500
_LARGE = 256 * 1024
_OPTIONS = "stream_options"
_PRIORITY = "priority"
_LATER = 1
"""vLLM's priority of what nobody waits for; 0 is that of a request that names none, and less comes sooner."""
_MOST_BYTES = 4 * 2**20
"""The longest page about itself that an endpoint is heard out on."""
_REFUSALS_OF_UNKNOWN_FIELDS = frozenset({400, 422})


class OpenAICompatibleModel:
    """A model behind `{base_url}/chat/completions`.

    One session per event loop is opened when it is first needed. Cancelling a call closes its connection, so the
    server stops generating.

    Args:
        model: the endpoint's own name of the model.
        base_url: the address up to and including `/v1`.
        api_key: sent as a bearer token; never part of an error message.
        name: the model string that the user wrote.
        capabilities: where probe results are kept; in this object's memory, if not given.
        seconds: the longest silence of the endpoint, before and within an answer.
        vllm: whether it is a vLLM server, which knows priorities and counts its queue.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key: str | None = None,
        name: str | None = None,
        capabilities: CapabilityCache | None = None,
        seconds: float = 120.0,
        vllm: bool = False,
    ) -> None:
        self.vllm = vllm
        self._model = model
        self._base_url = _checked(base_url)
        self._api_key = api_key
        self._name = name or f"openai_compatible/{model}"
        self._capabilities = capabilities or CapabilityCache()
        self._seconds = seconds
        self._takes_constraints = True
        self._takes_options = True
        self._takes_priority = vllm
        self._sessions: dict[asyncio.AbstractEventLoop, tuple[ClientSession, AsyncGenerator[None]]] = {}

    @property
    def name(self) -> str:
        return self._name

    @property
    def served_name(self) -> str:
        """The endpoint's own name of the model."""
        return self._model

    @property
    def endpoint(self) -> str:
        """The address, without user name and password if it holds any; for messages."""
        scheme, _, rest = self._base_url.partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"

    async def complete(self, request: Request) -> Completion:
        async with self._answered(request, stream=False) as response:
            answer = self._json(await response.read())
        completion = completion_of(answer, endpoint=self.endpoint)
        if isinstance(request.format, Given):
            return replace(completion, logprobs=given_tokens(answer, request.format.text))
        return completion

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        async with self._answered(request, stream=True) as response:
            if "json" in response.content_type:
                for delta in _as_deltas(completion_of(self._json(await response.read()), endpoint=self.endpoint)):
                    yield delta
                return
            reader = ChunkReader(self.endpoint)
            done = False
            async with aclosing(self._events(response, reader)) as arriving:
                async for events in arriving:
                    for data in events:
                        if done := data == "[DONE]":
                            break
                        if (delta := reader.delta(self._json(data))) is not None:
                            yield delta
                    if done:
                        break
            if not done and reader.finish_reason is None:
                raise self._broken_off()
            yield reader.last()
            await _read_to_the_end(response)

    def load(self) -> None:
        """Import what the first request would import."""
        import_module("aiohttp")

    async def exchange(self, body: Mapping[str, Any], raw: bytes | None, headers: Mapping[str, str]) -> Exchange:
        """Send a client's own body, and give the answer as it comes; see `relay`.

        Raises:
            ModelUnauthorized: the endpoint does not accept our key.
            ModelError: there is no answer, or it is an error that says nothing in OpenAI's form.
        """
        streams = bool(body.get("stream")) and _OPTIONS in body
        without = {name: value for name, value in body.items() if name != _OPTIONS}
        if streams and not self._takes_options:
            return await self._exchanged(without, None, headers)
        exchange = await self._exchanged(body, raw, headers)
        if not streams or exchange.status not in _REFUSALS_OF_UNKNOWN_FIELDS:
            return exchange
        refusal = b"".join([piece async for piece in exchange.body])
        if _OPTIONS.encode() not in refusal:
            return replace(exchange, body=in_one_piece(refusal))
        self._takes_options = False
        return await self._exchanged(without, None, headers)

    async def _exchanged(self, body: Mapping[str, Any], raw: bytes | None, headers: Mapping[str, str]) -> Exchange:
        import aiohttp

        patient = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_RELAY_SECONDS)
        with self._translated():
            session = await self._session()
            response = await session.post(
                f"{self._base_url}/chat/completions",
                data=_payload(raw if raw is not None else _encoded(body)),
                headers={**headers, "Accept-Encoding": "identity"},
                timeout=patient,
            )
            found = {name.lower(): value for name, value in response.headers.items()}
            if response.status >= 400:
                try:
                    content = await response.read()
                finally:
                    response.close()
                if response.status in (401, 403) or not _is_error_body(content):
                    raise self._refusal_of(response.status, content, found)
                return Exchange(response.status, found, False, in_one_piece(content))
        return Exchange(response.status, found, "event-stream" in response.content_type, self._relayed(response))

    async def _relayed(self, response: ClientResponse) -> AsyncGenerator[bytes]:
        try:
            with self._translated():
                async for piece in response.content.iter_any():
                    yield piece
        finally:
            if not response.content.at_eof():
                response.close()
            response.release()

    async def get(self, path: str, *, beside: bool = False, seconds: float = 5.0) -> tuple[int, bytes]:
        """The status and content of a page of the endpoint, such as `/models`.

        Args:
            path: Where it stands below the base URL.
            beside: Whether it stands beside `/v1` instead, as `/health` does.
            seconds: How long it may take.

        Raises:
            ModelError: it says nothing.
        """
        import aiohttp

        with self._translated():
            session = await self._session()
            limit = aiohttp.ClientTimeout(total=seconds)
            below = self._base_url.removesuffix("/v1") if beside else self._base_url
            async with session.get(below + path, timeout=limit) as response:
                content = bytearray()
                async for piece in response.content.iter_any():
                    content += piece
                    if len(content) > _MOST_BYTES:
                        raise MalformedAnswer(
                            f"{self.endpoint} says more than {_MOST_BYTES} bytes at {path}.",
                            hint="Check the base URL.",
                        )
                return response.status, bytes(content)

    async def capabilities(self) -> Capabilities:
        return await self._capabilities.get(self.endpoint, self._model, lambda: probe(self, likelihoods=True))

    async def close(self) -> None:
        # Taken out at once: each role that has this model closes it.
        sessions = [(loop, session) for loop, (session, _) in self._sessions.items()]
        self._sessions.clear()
        for loop, session in sessions:
            if loop is asyncio.get_running_loop():
                await session.close()
            elif loop.is_running():
                asyncio.run_coroutine_threadsafe(session.close(), loop)

    @asynccontextmanager
    async def _answered(self, request: Request, *, stream: bool) -> AsyncGenerator[ClientResponse]:
        """The response to `request`, its status checked; closed with its connection unless it was read to the end.

        An endpoint that refuses the fields by which other servers constrain a choice is asked without them from then
        on: the first token's log-probabilities are what a scoring is read from.
        """
        constrained = isinstance(request.format, Choice) and self._takes_constraints
        prioritised = self._prioritises(request)
        with_options = stream and self._takes_options
        with self._translated():
            response = await self._post(request, stream=stream, constrained=constrained)
            try:
                # A vLLM without `--scheduling-policy priority` refuses them or leaves them out, by its version.
                refused = prioritised and response.status in _REFUSALS_OF_UNKNOWN_FIELDS
                if refused and _names_priority(await self._refusal(response)):
                    self._takes_priority = False
                    response = await self._post(request, stream=stream, constrained=constrained)
                if with_options and response.status in _REFUSALS_OF_UNKNOWN_FIELDS:
                    refusal = await self._refusal(response)
                    if _OPTIONS not in str(refusal):
                        raise refusal
                    self._takes_options = False
                    response = await self._post(request, stream=stream, constrained=constrained)
                if constrained and response.status in _REFUSALS_OF_UNKNOWN_FIELDS:
                    refusal = await self._refusal(response)
                    response = await self._post(request, stream=stream, constrained=False)
                    if response.status != 200:
                        raise refusal
                    self._takes_constraints = False
                if response.status != 200:
                    raise await self._refusal(response)
                yield response
            finally:
                if not response.content.at_eof():
                    response.close()
                response.release()

    async def _post(self, request: Request, *, stream: bool, constrained: bool) -> ClientResponse:
        body = request_body(request, self._model, stream=stream, constrained=constrained)
        if not self._takes_options:
            body.pop(_OPTIONS, None)
        if self._prioritises(request):
            body[_PRIORITY] = _LATER
        session = await self._session()
        return await session.post(f"{self._base_url}/chat/completions", data=_payload(_encoded(body)))

    def _prioritises(self, request: Request) -> bool:
        return request.background and self._takes_priority and _PRIORITY not in request.parameters

    async def _session(self) -> ClientSession:
        loop = asyncio.get_running_loop()
        if loop in self._sessions:
            return self._sessions[loop][0]
        for known in list(self._sessions):
            if known.is_closed():
                self._sessions.pop(known, None)
        session = self._open_session()
        lifetime = _lifetime(session)
        self._sessions[loop] = session, lifetime
        await anext(lifetime)
        return session

    def _open_session(self) -> ClientSession:
        import aiohttp

        headers = {"Content-Type": "application/json", "User-Agent": "mentalize"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # `LimitedModel` limits.
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=self._seconds),
            trust_env=not _is_loopback(self._base_url),
        )

    async def _events(self, response: ClientResponse, reader: ChunkReader) -> AsyncGenerator[list[str]]:
        """The data of the events that came together; a connection that breaks after the finish reason lost nothing.

        Together, because a step of a generator for each chunk costs as much as reading it.
        """
        import aiohttp

        parser = EventParser()
        try:
            async for piece in response.content.iter_any():
                if events := parser.feed(piece):
                    yield events
        except aiohttp.ClientPayloadError:
            if reader.finish_reason is None:
                raise
        yield parser.finish()

    def _json(self, content: bytes | str) -> object:
        try:
            value = parsed(content)
        except ValueError as error:
            raise MalformedAnswer(
                f"{self.endpoint} sent something that is not JSON: {self._quoted(content)}",
                hint="Check that the base URL leads to an OpenAI-compatible server and ends in /v1.",
            ) from error
        if fault := as_mapping(cast("object", value)).get("error"):
            status = _status_in(fault)
            raise error_of(status, self._said(fault), endpoint=self.endpoint, model=self._model, headers={})
        return cast("object", value)

    async def _refusal(self, response: ClientResponse) -> ModelError:
        return self._refusal_of(response.status, await response.read(), dict(response.headers))

    def _refusal_of(self, status: int, content: bytes, headers: Mapping[str, str]) -> ModelError:
        try:
            body = parsed(content)
        except ValueError:
            body = content.decode("utf-8", "replace")
        said = self._said(as_mapping(body).get("error") or body)
        return error_of(status, said, endpoint=self.endpoint, model=self._model, headers=headers)

    def _said(self, fault: object) -> str:
        """The endpoint's own message, without our key, of bearable length."""
        fields = as_mapping(fault)
        message: object = fields.get("message") or fields.get("detail") or fault
        return self._quoted(message if isinstance(message, str) else json.dumps(message))

    def _quoted(self, content: bytes | str) -> str:
        # Half a surrogate pair can stand in JSON, but can be neither printed nor logged.
        encoded = content.encode("utf-8", "replace") if isinstance(content, str) else content
        text = " ".join(encoded.decode("utf-8", "replace").split())
        if self._api_key:
            text = text.replace(self._api_key, "[key]")
        return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "…"

    def _broken_off(self) -> ModelUnavailable:
        return ModelUnavailable(f"{self.endpoint} broke off in the middle of its answer.", hint="Try again.")

    @contextmanager
    def _translated(self) -> Generator[None]:
        import aiohttp

        try:
            yield
        except aiohttp.ConnectionTimeoutError as error:
            raise ModelUnavailable(
                f"{self.endpoint} cannot be reached: no connection within {_CONNECT_SECONDS:g} s.",
                hint="Start the server, or check the address and port.",
            ) from error
        except (TimeoutError, aiohttp.ServerTimeoutError) as error:
            raise ModelTimeout(
                f"{self.endpoint} stayed silent for too long.",
                hint="Check that the server is up and not overloaded, or allow it more time.",
            ) from error
        except aiohttp.InvalidURL as error:
            raise ModelNotFound(
                f"{self.endpoint} is no address that can be reached.",
                hint="Give a base URL such as http://host:8000/v1.",
            ) from error
        except aiohttp.ClientConnectorError as error:
            raise ModelUnavailable(
                f"{self.endpoint} cannot be reached: {error.strerror or error}.",
                hint="Start the server, or check the address and port.",
            ) from error
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionError) as error:
            raise self._broken_off() from error
        except aiohttp.ClientError as error:
            raise ModelUnavailable(
                f"The exchange with {self.endpoint} failed ({type(error).__name__}).", hint="Check the address."
            ) from error


def error_of(status: int, said: str, *, endpoint: str, model: str, headers: Mapping[str, str]) -> ModelError:
    """The error that an HTTP status of a chat endpoint stands for; `said` is the endpoint's own message."""
    answered = f"{endpoint} answered {status}" + (f": {_as_sentence(said)}" if said else ".")
    if status in (401, 403):
        return ModelUnauthorized(answered, hint="Give a valid API key for this endpoint.")
    if status == 429:
        wait = retry_after(headers)
        hint = "Slow down, or lower the concurrency." if wait is None else f"Try again in {wait:g} s."
        return ModelRateLimited(answered, hint=hint, retry_after=wait)
    if status == 404 and "model" in said.lower():
        return ModelNotFound(
            answered, hint=f"Check the model name {model!r}; GET {endpoint}/models lists what is there."
        )
    if status == 404:
        return ModelNotFound(answered, hint="Check the base URL; it usually ends in /v1.")
    if status == 408:
        return ModelTimeout(answered, hint="Try again.")
    if status >= 500:
        error = ModelUnavailable(answered, hint="Try again; if it stays, look into the server's log.")
        error.retry_after = retry_after(headers)
        return error
    return ModelRefused(answered, hint="Change the request or the endpoint's settings; sending it again cannot help.")


def _names_priority(refusal: ModelError) -> bool:
    return _PRIORITY in refusal.message.lower()


def _as_sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def retry_after(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Seconds that `Retry-After-Ms` or `Retry-After` (seconds or an HTTP date) ask us to wait, if they are readable."""
    given = {name.lower(): value for name, value in headers.items()}
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(given[name]) * unit)
        except (KeyError, ValueError):
            continue
    try:
        until = parsedate_to_datetime(given["retry-after"]).timestamp()
    except (KeyError, ValueError):
        return None
    return max(0.0, until - (time.time() if now is None else now))


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body).encode()
    except (TypeError, ValueError) as error:
        raise ModelRefused(
            f"The request cannot be written as JSON: {error}.",
            hint="Messages and parameters may hold only what JSON knows.",
        ) from error


def _payload(content: bytes) -> bytes | BytesIO:
    """A body as aiohttp wants it: one that is long is sent piece by piece, so that others are served meanwhile."""
    return content if len(content) <= _LARGE else BytesIO(content)


def _is_error_body(content: bytes) -> bool:
    """Whether an error is told in OpenAI's form."""
    try:
        body = parsed(content)
    except ValueError:
        return False
    return isinstance(as_mapping(as_mapping(body).get("error")).get("message"), str)


def _status_in(fault: object) -> int:
    """The HTTP status that an error object inside a 200 answer stands for; 500 where it does not say."""
    code = str(as_mapping(fault).get("code"))
    return int(code) if code.isdigit() and 400 <= int(code) < 600 else 500


async def _lifetime(session: ClientSession) -> AsyncGenerator[None]:
    """Closes the session when its event loop shuts down, which closes the generators that were begun in it."""
    try:
        yield
    finally:
        await session.close()


async def _read_to_the_end(response: ClientResponse) -> None:
    """Take what follows `[DONE]`, normally nothing, so that the connection can be used again; else it is closed."""
    import aiohttp

    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_END_SECONDS):
            while await response.content.readany():
                pass


def _as_deltas(completion: Completion) -> Iterator[Delta]:
    yield Delta(text=completion.text, raw=completion.message)
    yield Delta(finish_reason=completion.finish_reason, usage=completion.usage)


def _checked(base_url: str) -> str:
    if not base_url.startswith(("http://", "https://")):
        raise InputError(
            f"The base URL {base_url!r} does not begin with http:// or https://.",
            hint="Give one such as http://127.0.0.1:8000/v1.",
        )
    return base_url.rstrip("/")


def _is_loopback(base_url: str) -> bool:
    from ipaddress import ip_address
    from urllib.parse import urlsplit

    host = urlsplit(base_url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
