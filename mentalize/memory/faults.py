"""What goes wrong in a database, told as our own errors. Nothing else in `memory/` knows its drivers' errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ..errors import StoreCorrupt, StoreError, StoreUnavailable

RESTORE = (
    "It was left as it is. Restore it from a backup (copies made before an upgrade lie beside it), or move it away and "
    "import your last export into a new one."
)

_SQLITE = {
    sqlite3.SQLITE_BUSY: ("is busy: another process has been writing for too long", "Try again."),
    sqlite3.SQLITE_LOCKED: ("is busy: another process has been writing for too long", "Try again."),
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full", "Free some space; nothing of this write was kept."),
    sqlite3.SQLITE_READONLY: ("cannot be written", "Give this user the right to write to the file and its folder."),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "Check that the folder exists and that this user may write there."),
    sqlite3.SQLITE_PERM: ("may not be opened", "Give this user the right to read and write the file."),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "Check the disk; nothing of this write was kept."),
}
_SQLITE_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_POSTGRES = {
    "53100": ("cannot grow: the disk is full", "Free some space on the server; nothing of this write was kept."),
    "25006": ("cannot be written", "The server is read-only, perhaps a standby; connect to the primary."),
    "42501": ("refuses this user", "Give the user of the URL the right to create and change tables."),
    "28P01": ("refuses the password", "Check user name and password in the URL."),
    "3D000": ("does not exist", "Create the database, or correct its name in the URL."),
}
_POSTGRES_CORRUPT = ("XX001", "XX002")


@contextmanager
def translated(place: str) -> Generator[None]:
    """Raise the errors of SQLAlchemy and its drivers as StoreError; `place` is what a person calls the database."""
    try:
        yield
    except DBAPIError as error:
        raise fault(place, error.orig or error) from error
    except sqlite3.Error as error:
        raise fault(place, error) from error
    except PoolTimeout as error:
        raise StoreUnavailable(f"{place} has too many users at once in this process.", hint="Try again.") from error
    except OSError as error:
        raise StoreUnavailable(
            f"{place} cannot be reached: {error.strerror or error}.", hint="Check the folder and its rights."
        ) from error
    except SQLAlchemyError as error:
        raise StoreUnavailable(f"{place} failed ({type(error).__name__}).", hint="Try again.") from error


def fault(place: str, error: BaseException) -> StoreError:
    """The error of ours that a driver's error stands for."""
    if isinstance(error, sqlite3.Error):
        return _sqlite_fault(place, error)
    code = str(getattr(error, "sqlstate", None) or "")
    if code in _POSTGRES_CORRUPT:
        return StoreCorrupt(f"{place} is damaged.", hint="Restore it from the server's backups.")
    what, hint = _POSTGRES.get(code) or _unknown(error, code)
    return StoreUnavailable(f"{place} {what}.", hint=hint)


def _unknown(error: BaseException, code: str) -> tuple[str, str]:
    """What the driver says of a connection that there was not; of a statement it may say what people wrote."""
    said = " ".join(str(error).split())
    if code or not said.startswith("connection "):
        return f"failed ({type(error).__name__}{code and f' {code}'})", "Check that the server is up, and try again."
    return f"cannot be reached: {said}", "Check that the server is up, and the host, port and user in the URL."


def _sqlite_fault(place: str, error: sqlite3.Error) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _SQLITE_CORRUPT:
        return StoreCorrupt(f"{place} is damaged, or is no SQLite database ({error}).", hint=RESTORE)
    what, hint = _SQLITE.get(code, (f"failed ({error})", "Try again."))
    return StoreUnavailable(f"{place} {what}.", hint=hint)
