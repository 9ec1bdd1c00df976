"""People, what is remembered about them, its terms and vectors, and what was deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_APPLICATION_ID = 0x6D6E747A


def upgrade() -> None:
    """Make them."""
    _make_people_and_memories()
    _make_what_hangs_on_memories()
    _make_vectors()
    _make_what_was_deleted()
    if op.get_bind().dialect.name == "sqlite":
        _make_terms_in_sqlite()
    else:
        _make_terms_in_postgresql()


def _person() -> sa.Column[int]:
    return sa.Column("person", _KEY, sa.ForeignKey("people.number", ondelete="CASCADE"), primary_key=True)


def _memory() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["person", "memory"], ["memories.person", "memories.number"], ondelete="CASCADE")


def _make_people_and_memories() -> None:
    op.create_table(
        "people",
        sa.Column("number", _KEY, primary_key=True, autoincrement=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("zone", sa.Text),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("forgot", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("tenant", "user"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "memories",
        sa.Column("number", _KEY, primary_key=True, autoincrement=True),
        sa.Column("person", _KEY, sa.ForeignKey("people.number", ondelete="CASCADE"), nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("observed_at", sa.BigInteger, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("last_recalled_at", sa.BigInteger),
        sa.Column("valid_from", sa.BigInteger),
        sa.Column("valid_until", sa.BigInteger),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("strength", sa.Integer, nullable=False),
        sa.Column("importance", sa.Double, nullable=False),
        sa.Column("confidence", sa.Double),
        sa.Column("pinned", sa.Boolean, nullable=False),
        sa.Column("archived", sa.Boolean, nullable=False),
        sa.Column("speaker", sa.Text, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("superseded_by", sa.Text),
        sa.Column("sources", sa.Text, nullable=False),
        sa.Column("audience", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("length", sa.Integer, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("quote", sa.Text, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.UniqueConstraint("person", "id"),
        sa.UniqueConstraint("person", "number"),
        sqlite_autoincrement=True,
    )
    op.create_index("memories_by_time", "memories", ["person", "observed_at", "number"])
    op.create_index("memories_by_kind", "memories", ["person", "kind", "observed_at"])
    op.create_index("memories_by_session", "memories", ["person", "session", "kind", "observed_at", "number"])
    op.create_index("memories_by_length", "memories", ["person", "number", "length"])
    superseded = sa.text("superseded_by IS NOT NULL")
    columns = ["person", "superseded_by"]
    op.create_index("memories_by_successor", "memories", columns, sqlite_where=superseded, postgresql_where=superseded)


def _make_what_hangs_on_memories() -> None:
    op.create_table(
        "sources",
        _person(),
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("memory", _KEY, primary_key=True),
        _memory(),
    )
    op.create_index("sources_by_memory", "sources", ["person", "memory"])
    op.create_table(
        "uses",
        _person(),
        sa.Column("memory", _KEY, primary_key=True),
        sa.Column("turn", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        _memory(),
    )
    op.create_index("uses_by_turn", "uses", ["person", "turn"])


def _make_vectors() -> None:
    op.create_table(
        "embedders",
        sa.Column("number", _KEY, primary_key=True, autoincrement=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "vectors",
        _person(),
        sa.Column("embedder", _KEY, sa.ForeignKey("embedders.number"), primary_key=True),
        sa.Column("memory", _KEY, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        _memory(),
    )
    op.create_index("vectors_by_version", "vectors", ["person", "embedder", "version"])
    op.create_index("vectors_by_memory", "vectors", ["person", "memory"])
    op.create_table(
        "outbox",
        sa.Column("sequence", _KEY, primary_key=True, autoincrement=True),
        sa.Column("person", _KEY, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.UniqueConstraint("person", "id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "marks",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )


def _make_what_was_deleted() -> None:
    op.create_table(
        "deletions",
        _person(),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "tombstones",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
    )


def _make_terms_in_sqlite() -> None:
    op.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    op.execute("CREATE VIRTUAL TABLE terms USING fts5(words, tokenize = 'ascii', columnsize = 0)")
    op.execute("CREATE VIRTUAL TABLE term_frequencies USING fts5vocab(terms, row)")
    op.execute("CREATE VIRTUAL TABLE term_places USING fts5vocab(terms, instance)")


def _make_terms_in_postgresql() -> None:
    op.execute(
        """
        CREATE TABLE terms (
            memory bigint PRIMARY KEY REFERENCES memories (number) ON DELETE CASCADE,
            words tsvector NOT NULL
        )
        """
    )
    op.execute("CREATE INDEX terms_by_word ON terms USING gin (words)")
