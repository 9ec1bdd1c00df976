"""Numbered changes of the tables, run by Alembic when a database is opened that does not have them yet."""
