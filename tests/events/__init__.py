"""The database: the embedded server, migrations, sessions."""
