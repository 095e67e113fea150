"""Maps of features: what is done to rows between a source and a model, and undone in answers."""
