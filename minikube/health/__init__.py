"""Probing instances (floor 2), shared by the registry and the supervisor.

`health` decides (pure: results and times in, verdicts out), `pace` says when many who want much are asked (pure), `doubt`
when the observer itself is to be doubted (pure), `prober` asks (trio: HTTP and TCP). None of them knows who is asking or
what a verdict leads to.
"""
