"""Uses of private or undocumented parts of libraries: one module per library.

A comment in each function says which public way is missing. A test in ``tests/compat`` checks the function, and names the
library when it fails. Each module imports only its own library.
"""
