"""The commands of `candor`, by what they are about. Heavy imports live inside them, so that help is instant."""
