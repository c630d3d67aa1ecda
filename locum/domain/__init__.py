"""The nouns of the Assistants API as frozen values, and the pure rules about them. No I/O, no framework.

Values are `msgspec.Struct`s (decision 0003): frozen, typed, and their JSON form is the `doc` the store keeps. Closed
unions are tagged by `type`, as on the wire.
"""
