"""The study of a search: its database, the processes that work on it, and its next trial."""
