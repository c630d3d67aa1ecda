"""Benchmarks: what Locum costs beside the model server it stands in front of. `python -m bench` runs all."""
