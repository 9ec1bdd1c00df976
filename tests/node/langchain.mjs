// @langchain/openai asks the server at argv[2]; what its user sees goes to standard output as JSON.
import { concat } from "@langchain/core/utils/stream";
import { ChatOpenAI } from "@langchain/openai";

const [baseURL, said] = [process.argv[2], JSON.parse(process.argv[3])];
const configuration = { baseURL, defaultHeaders: { "X-Mentalize-User": "ana" } };
const chat = (model = "mentalize-medium") => new ChatOpenAI({ model, apiKey: "none", maxRetries: 0, configuration });

async function gathered(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

async function whole() {
  const reply = await chat().invoke(said.message);
  return { text: reply.content, tokens: reply.usage_metadata.output_tokens, model: reply.response_metadata.model_name };
}

async function streamed() {
  const chunks = await gathered(await chat().stream(said.message));
  return {
    pieces: chunks.map((chunk) => chunk.content).filter(Boolean),
    tokens: chunks.reduce(concat).usage_metadata.output_tokens,
  };
}

async function called() {
  const chunks = await gathered(await chat().bindTools(said.tools).stream(said.message));
  return chunks.reduce(concat).tool_calls;
}

async function fault(model, message) {
  try {
    await chat(model).invoke(message);
  } catch (error) {
    return { name: error.constructor.name, status: error.status, code: error.code };
  }
  return null;
}

console.log(
  JSON.stringify({
    whole: await whole(),
    streamed: await streamed(),
    called: await called(),
    structured: await chat().withStructuredOutput(said.schema).invoke(said.message),
    faults: { unknown: await fault("gpt-unknown", said.message), slow: await fault(undefined, said.slowDown) },
  }),
);
