"""Draw the picture of docs/memory.md, retention curves of an invented person: `.venv/bin/python scripts/curves.py`."""

from datetime import UTC, datetime, timedelta

from environment import ROOT

PICTURE = ROOT / "docs" / "images" / "memory.svg"
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LIFE = (
    ("fact", "Ana is allergic to peanuts.", 26, ()),
    ("portrait", "Ana jokes when she is hurt; ask once more, gently.", 20, ()),
    ("emotion_pattern", "sadness (3 times): “nobody asked me”", 16, ()),
    ("turn", "My cat Miso is ill.", 24, (17, 9, 2)),
    ("turn", "I had soup for lunch.", 24, ()),
    ("inference", "Ana would like to be asked along.", 6, ()),
)


def draw() -> None:
    from mentalize.cli.curves import Drawing, as_picture
    from mentalize.memory.retention import Curve
    from mentalize.memory.timeline import timeline
    from mentalize.types import Memory, MemoryKind

    curve, end = Curve(), NOW + timedelta(days=14)
    lines = []
    for number, (kind, text, days, used) in enumerate(LIFE):
        memory = Memory(
            id=str(number),
            kind=MemoryKind(kind),
            text=text,
            observed_at=NOW - timedelta(days=days),
            strength=1 + len(used),
        )
        recalls = [NOW - timedelta(days=ago) for ago in used]
        lines.append(timeline(memory, recalls, curve, until=end))
    as_picture(Drawing(lines, NOW, "UTC", curve.archive_below), PICTURE, title="What is remembered about Ana")
    print(PICTURE.relative_to(ROOT))


if __name__ == "__main__":
    draw()
