"""Claims to background work, and traces."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "claims",
        _person(),
        sa.Column("work", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "traces",
        _person(),
        sa.Column("turn", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("traces_by_end", "traces", ["until"])


def _person() -> sa.Column[int]:
    return sa.Column("person", _KEY, sa.ForeignKey("people.number", ondelete="CASCADE"), primary_key=True)
