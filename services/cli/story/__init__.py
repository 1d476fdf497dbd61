"""`kept story county`: one customer's county, lost and kept, told from the log as it happens."""
