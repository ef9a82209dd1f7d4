"""Check a configuration as a whole, and build objects from it; nothing else does."""

import sys

from bert_ft.signals import end_quietly_on_interrupt

# of `python -m bert_ft.<command>`, the first import: in the rest, which takes a moment, Ctrl-C would give a traceback
_started = getattr(sys.modules["__main__"], "__spec__", None)
if _started is not None and _started.name.startswith("bert_ft."):
    end_quietly_on_interrupt()
