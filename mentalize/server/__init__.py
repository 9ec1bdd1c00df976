"""OpenAI's wire format over HTTP: the endpoint, its memories, its traces, and how it is watched."""
