"""A clock for tests."""

from datetime import datetime, timedelta


class Clock:
    """Stands still until it is set or moved."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, days: float = 1) -> None:
        self.now += timedelta(days=days)
