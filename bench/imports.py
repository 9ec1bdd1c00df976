"""What importing mentalize costs, beside a bare `import pydantic`: medians over fresh processes, taken in turns.

Exits with 1 if `from mentalize import Mind` takes longer than its target, or if anything is loaded that should wait
for its first use.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass

from figures import Figure, Reporter, as_json, complain, show

BENCHMARK = "4 seconds"

TARGET = 0.150
"""Seconds that `from mentalize import Mind` may take."""
RATIO = 6.5
"""Or so many times what `import pydantic` takes, on a machine that is slower than the one it was set on."""
LATE = ("chromadb", "langgraph", "litellm", "torch")
"""What must not be loaded before it is used."""
PACKAGE, FACADE, YARDSTICK = STATEMENTS = ("import mentalize", "from mentalize import Mind", "import pydantic")

PROGRAM = """
import json, sys, time
began = time.perf_counter()
{statement}
seconds = time.perf_counter() - began
print(json.dumps({{"seconds": seconds, "early": [name for name in {late!r} if name in sys.modules]}}))
"""


@dataclass(frozen=True, slots=True)
class Import:
    """One import in a fresh process."""

    seconds: float
    early: list[str]
    """What it loaded that should wait."""


def fresh(statement: str) -> Import:
    program = PROGRAM.format(statement=statement, late=LATE)
    # Without bytecode, what is measured is the compiler.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=variables)
    return Import(**json.loads(done.stdout))


def figures(medians: dict[str, float], early: set[str]) -> list[Figure]:
    taken, beside = Reporter("in a fresh process, median"), Reporter("beside pydantic")
    target = {FACADE: 1e3 * max(TARGET, RATIO * medians[YARDSTICK])}
    found = [taken(name, 1e3 * median, "ms", at_most=target.get(name)) for name, median in medians.items()]
    found += [beside(name, median / medians[YARDSTICK], "×") for name, median in medians.items()]
    return [*found, Reporter("loaded before it is used")("packages", len(early), at_most=0, always=True)]


def faults(medians: dict[str, float], early: set[str]) -> list[str]:
    found = [f"loaded before it is used: {', '.join(sorted(early))}"] if early else []
    if medians[FACADE] > max(TARGET, RATIO * medians[YARDSTICK]):
        found.append(f"{FACADE} takes longer than {TARGET * 1000:.0f} ms and {RATIO:g} × pydantic")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10, help="fresh processes for each statement")
    parser.add_argument("--quick", action="store_true", help="four processes for each statement")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()

    early = {name for statement in STATEMENTS for name in fresh(statement).early}  # and warms disk and bytecode
    times = 4 if arguments.quick else arguments.times
    rounds = [{statement: fresh(statement) for statement in STATEMENTS} for _ in range(times)]
    medians = {statement: statistics.median(done[statement].seconds for done in rounds) for statement in STATEMENTS}

    found, wrong = figures(medians, early), faults(medians, early)
    if arguments.json:
        print(as_json(found, quick=arguments.quick, faults=wrong))
    else:
        show(found)
    return complain(wrong)


if __name__ == "__main__":
    sys.exit(main())
