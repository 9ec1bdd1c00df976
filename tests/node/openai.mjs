// openai-node asks the server at argv[2]; what its user sees goes to standard output as JSON.
import OpenAI from "openai";

const [baseURL, said] = [process.argv[2], JSON.parse(process.argv[3])];
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const ask = (content, more = {}) => ({ model: "mentalize-medium", messages: [{ role: "user", content }], ...more });

async function whole() {
  const { data, response } = await client.chat.completions.create(ask(said.message, { user: "ana" })).withResponse();
  return {
    text: data.choices[0].message.content,
    tokens: data.usage.completion_tokens,
    headers: Object.fromEntries(response.headers),
    requestId: data._request_id,
  };
}

async function streamed() {
  const wish = { stream: true, stream_options: { include_usage: true }, mentalize: { stages: true } };
  const stream = await client.chat.completions.create(ask(said.message, wish));
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  const deltas = chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta));
  return {
    pieces: deltas.map((delta) => delta.content).filter(Boolean),
    thoughts: deltas.map((delta) => delta.reasoning_content).filter(Boolean),
    last: chunks.at(-1),
  };
}

async function helped() {
  const stream = client.chat.completions.stream(ask(said.message));
  const pieces = [];
  stream.on("content", (delta) => pieces.push(delta));
  return { pieces, text: await stream.finalContent() };
}

async function called() {
  const stream = client.chat.completions.stream(ask(said.message, { tools: said.tools }));
  const parts = [];
  stream.on("tool_calls.function.arguments.delta", (event) => parts.push(event.arguments_delta));
  const { choices } = await stream.finalChatCompletion();
  return { parts, call: choices[0].message.tool_calls[0].function, reason: choices[0].finish_reason };
}

async function fault(request) {
  try {
    const answer = await client.chat.completions.create(request);
    if (request.stream) for await (const _ of answer);
  } catch (error) {
    return { name: error.constructor.name, status: error.status, code: error.code, requestId: error.requestID };
  }
  return null;
}

const models = [];
for await (const model of client.models.list()) models.push(model.id);

console.log(
  JSON.stringify({
    models,
    whole: await whole(),
    streamed: await streamed(),
    helped: await helped(),
    called: await called(),
    faults: {
      unknown: await fault(ask(said.message, { model: "gpt-unknown" })),
      empty: await fault(ask("")),
      slow: await fault(ask(said.slowDown)),
      broken: await fault(ask(said.breakOff, { model: "scripted", stream: true })),
    },
  }),
);
