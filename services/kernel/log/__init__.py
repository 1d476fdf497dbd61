"""The event log: one sequence of events in a cell, and everything that must commit together with it (I1, I4, I6)."""
