"""Two notebooks that look at a home's data and at its latest model, and how they are run and saved."""
