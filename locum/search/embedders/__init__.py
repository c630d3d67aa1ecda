"""Who turns texts into vectors: a server (`remote`), a model on this machine (`local`), or nobody."""
