"""File search: parse, chunk, embed, index and rank. Owns the derived data: what is here can be made again."""
