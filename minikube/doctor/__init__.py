"""`minikube doctor`: check whether this machine can run a project.

    finding    the result of one check
    running    whether what runs answers: the supervisor, Redis, the registry
    checks     all checks, and the order in which they run

The folder refuses to change anything on the machine.
"""
