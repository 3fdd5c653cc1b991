"""Origins of data: each folder maps its raw files to the same source tables.

A new portfolio is a folder with a ``portfolio.toml`` (see `feature_repo.portfolios.portfolio`), one
``<table>.sql`` for each source table it fills and, if they share work, a ``staging.sql`` run first.
"""
