"""``python -m bert_ft <verb>``: the same as ``bert_ft <verb>``."""

from bert_ft.verbs import main

main()
