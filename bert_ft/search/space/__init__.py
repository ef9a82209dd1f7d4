"""What is searched, and how a trial gets its values."""
