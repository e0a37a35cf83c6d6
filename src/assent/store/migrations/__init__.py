"""Alembic's folder: each revision takes the tables from one version to the next."""
