"""A whole cell in one thread, from one seed: real handlers on a simulated scheduler, clock, network and outside world.

Two runs of a seed are the same run, step by step, so whatever a seed finds can be looked at again:

    python -m tests.simulation --seed 7 --trace
"""
