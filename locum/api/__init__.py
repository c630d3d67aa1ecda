"""HTTP only: paths, headers, parsing and rendering. No SQL, no policy.

A request passes `edge` (who calls, in which dialect), `routes` (one table) and a handler that parses, calls a service
and renders. Everything that goes wrong becomes a response in one place, `errors`.
"""
