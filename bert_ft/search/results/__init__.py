"""Results of a study: page, pictures, tables, best settings, and which folders keep their weights."""
