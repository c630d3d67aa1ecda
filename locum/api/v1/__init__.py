"""The v1 shapes: what was called v1 until April 2024, over the same objects as v2.

Pure functions at the edge, and the four paths that only v1 has. Everything behind speaks v2, which can say all of v1.
"""
