"""The study of a search: its database, who works on it, and its next trial."""
