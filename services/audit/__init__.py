"""For auditors: the log as it is, in a stream of its own process, and proofs that it is what it was."""
