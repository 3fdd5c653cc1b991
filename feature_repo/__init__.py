"""The Feast contract, the portfolios that fill it and the stores that keep it."""

from feature_repo.feast_import import hasten

hasten()
