"""A plain OpenAI chatbot that mentalizes by one line. It reads OPENAI_API_KEY, and OPENAI_BASE_URL if you have one."""

import os

from openai import OpenAI

import mentalize

MODEL = os.environ.get("OPENAI_MODEL", "gpt-5-mini")


def main() -> None:
    with OpenAI() as plain:
        client = mentalize.wrap_openai(plain, model=MODEL, effort="low")
        answer = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "I'm fine. Go without me, really."}],
            user="ana",
        )
    print(answer.choices[0].message.content)


if __name__ == "__main__":
    main()
