"""Probing instances (floor 2), shared by the registry and the supervisor.

`health` decides (pure: results and times in, verdicts out), `doubt` decides when the observer itself is to be
doubted (pure), `prober` asks (trio: HTTP and TCP). None of them knows who is asking or what a verdict leads to.
"""
