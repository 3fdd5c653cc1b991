"""What the law has a lender tell an applicant about a decision, made from its record and the bundle that it cites."""
