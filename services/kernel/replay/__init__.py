"""Replay: the log from position 1 into fresh views and fresh policies, compared with what is there. Sends nothing (I10)."""
