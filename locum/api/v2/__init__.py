"""The shapes of v2 (Azure: 2024-05-01-preview and later): `requests` on the way in, `objects` on the way out."""
