"""Rows: the truth. One module of synchronous `fn(conn, …)` functions per noun; `database.py` decides where they run."""
