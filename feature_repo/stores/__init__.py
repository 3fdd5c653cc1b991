"""The online feature plan: compiled from the registry, read without Feast."""
