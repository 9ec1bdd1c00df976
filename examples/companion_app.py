"""A companion web app in one file: `uvicorn --app-dir examples companion_app:app`, then open http://127.0.0.1:8000.

Anyone who opens it is who they say they are: put your own sign-in in front of it before you let others in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel

from mentalize import Answer, Companion, Memory, TextDelta

companion = Companion("Bo", "You are warm, curious and brief.", effort="low")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with companion:
        yield


app = FastAPI(title="Bo", lifespan=lifespan)


class Said(BaseModel):
    user: str
    text: str


@app.post("/say")
async def say(said: Said) -> StreamingResponse:
    """The answer, as it is written."""

    async def pieces() -> AsyncIterator[str]:
        sent = ""
        async for event in companion.person(said.user).stream(said.text):
            if isinstance(event, TextDelta):
                sent += event.text
                yield event.text
            elif isinstance(event, Answer):
                yield event.text[len(sent) :]

    return StreamingResponse(pieces(), media_type="text/plain; charset=utf-8")


@app.get("/beliefs")
async def beliefs(user: str) -> list[dict[str, Any]]:
    """What is believed about a person, for that person."""
    found: tuple[Memory, ...] = await companion.person(user).beliefs()
    return [{"id": one.id, "text": one.text, "status": one.status} for one in found]


@app.delete("/beliefs/{belief}")
async def forget(belief: str, user: str) -> dict[str, int]:
    """Forget one of them, for good."""
    return {"deleted": (await companion.person(user).forget(belief)).total}


@app.get("/crisis-protocol", response_class=PlainTextResponse)
async def crisis_protocol() -> str:
    """What is done when somebody is in danger."""
    return companion.crisis_protocol()


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    """The page."""
    return PAGE


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Bo</title>
<style>
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
  body { display: grid; grid-template-columns: 2fr 1fr; gap: 2rem; max-width: 62rem; margin: 2rem auto }
  body { padding: 0 1rem }
  @media (max-width: 45rem) { body { grid-template-columns: 1fr } }
  #talk { display: flex; flex-direction: column; gap: .6rem; min-height: 18rem }
  #talk p { margin: 0; padding: .6rem .9rem; border-radius: 1rem; white-space: pre-wrap; max-width: 85% }
  #talk .bo { background: #8883 }
  #talk .mine { align-self: end; background: #36c; color: white }
  form { display: flex; gap: .5rem; margin-top: 1rem }
  input { flex: 1; padding: .6rem .8rem; border-radius: .6rem; border: 1px solid #8888; font: inherit }
  button { padding: .4rem .8rem; border-radius: .6rem; border: 0; font: inherit; cursor: pointer }
  li { margin-bottom: .5rem } small { opacity: .7 }
</style>
<main>
  <h1>Bo</h1>
  <div id="talk" role="log" aria-live="polite"></div>
  <form><input id="text" aria-label="Your message" placeholder="Say something" autocomplete="off" required>
  <button>Send</button></form>
  <p><small><a href="/crisis-protocol">What Bo does when somebody is in danger</a></small></p>
</main>
<aside><h2>What Bo believes about you</h2><ul id="beliefs"></ul></aside>
<script>
  const user = new URLSearchParams(location.search).get("user") || "me";
  const line = (who) => {
    const made = document.createElement("p");
    made.className = who;
    return document.querySelector("#talk").appendChild(made);
  };
  async function show() {
    const list = document.querySelector("#beliefs");
    const found = await (await fetch(`/beliefs?user=${encodeURIComponent(user)}`)).json();
    list.replaceChildren(...found.map((one) => {
      const item = document.createElement("li");
      item.textContent = `${one.text} (${one.status === "confirmed" ? "you said so" : "a guess"}) `;
      const forget = document.createElement("button");
      forget.textContent = "Forget";
      forget.onclick = async () => {
        await fetch(`/beliefs/${encodeURIComponent(one.id)}?user=${encodeURIComponent(user)}`, { method: "DELETE" });
        show();
      };
      item.append(forget);
      return item;
    }));
  }
  document.querySelector("form").onsubmit = async (event) => {
    event.preventDefault();
    const field = document.querySelector("#text"), text = field.value;
    field.value = "";
    line("mine").textContent = text;
    const answer = line("bo"), body = JSON.stringify({ user, text });
    const said = await fetch("/say", { method: "POST", headers: { "content-type": "application/json" }, body });
    const reader = said.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part; !(part = await reader.read()).done;) answer.textContent += part.value;
    document.body.dataset.answered = Number(document.body.dataset.answered || 0) + 1;
    show();
  };
  show();
</script>
</html>
"""
