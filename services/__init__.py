"""The command line, the pipeline through all layers, and the scoring service."""
