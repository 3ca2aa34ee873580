"""The rows of the state store; `state_store` makes the snapshot of them.

table        rows by key, and at which revision each was changed or removed
clock_shift  points in time of rows after the wall clock was set
"""
