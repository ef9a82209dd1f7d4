"""The search space, and how a trial draws its values."""
