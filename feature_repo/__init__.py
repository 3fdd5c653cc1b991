"""The Feast contract, the portfolios that fill it and the stores that keep it."""
