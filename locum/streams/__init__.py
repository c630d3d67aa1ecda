"""The live streams of this process's runs."""
