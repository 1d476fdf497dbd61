"""A whole cell in one thread, from one seed: real handlers on a simulated scheduler, clock, network and outside world.

Two runs of a seed are the same run, step by step, so whatever a seed finds can be looked at again:

    python -m tests.simulation --seed 7 --trace

What is real: the services' applications, policies, views and sender, the kernel's followers, its log and group commit, and
SQLite, on files in memory that no power cut takes anything from.

What is a model, so that a green seed says nothing of it:

- The relay, and the source that reads the copy, are those of `copying`: they fail as the real ones may, but not a line of
  `services.kernel.copy` runs here, and no broker. Those are in tests/faults/test_broker.py and tests/kernel/test_copy_*.py.
- The store is SQLite alone. What only PostgreSQL does (its own form of the commit, connections that break, failover) is in
  tests/faults/test_postgres_*.py.
- gRPC, nameko and leases: a call is a function, an entrypoint a loop, and two workers may hold the same follower.
  Those are in tests/journeys, tests/kernel/test_follow.py and tests/kernel/test_lease.py.
"""
