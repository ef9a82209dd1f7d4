"""Lightning callbacks: one monitor or technique a file."""
