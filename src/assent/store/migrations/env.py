"""Alembic's entry: runs the revisions on the connection that `migrating.migrate` hands over."""

from alembic import context

connection = context.config.attributes["connection"]
# Alembic takes SQLite for a database that cannot undo table changes; inside BEGIN it can.
context.configure(connection=connection, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
