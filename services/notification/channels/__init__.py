"""Ways out of the house. Only the sender's process has them (I10)."""
