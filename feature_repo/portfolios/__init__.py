"""Origins of data: each folder maps its raw files to the same source tables."""
