"""Inputs that nobody meant: drawn, mutated and malicious ones, against everything that reads data from elsewhere.

`python -m tests.fuzz --inputs 100000 --json found.json` runs them all, each target in a process of its own that may
neither write outside its folder nor start anything; `tests/test_fuzz.py` runs a few of each.
"""
