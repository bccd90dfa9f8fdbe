"""Attacks on this machine's own sandbox: what a run would try, tried by a run of ours, and what came of each.

`attacks/` is copied into the source of a run and runs in it; `canary.py` is a program of the worker's user that holds
what is attacked; `catalog` says what each attack would give and from which rung on it is promised that it does not.
"""
