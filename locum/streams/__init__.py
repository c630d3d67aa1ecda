"""The streams of the runs that this process tells of."""
