"""A seeded point-of-sale lender: simulated events, and the SQL that maps them to source tables."""
