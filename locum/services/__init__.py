"""The use cases, one module per noun, verbs as in the SDK: authorise, validate, store, wake. No HTTP, no SQL text."""
