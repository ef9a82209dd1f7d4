"""What is private in a library, or isn't documented, and used nevertheless: one module a library.

Each function says which public way is missing. A test in ``tests/compat`` holds it to what it promises, and names the
library when it fails. A module imports its own library only, so that asking for one loads no other.
"""
