"""The supervisor: runs the services of a manifest for as long as `up` lasts, and leaves no process behind.

    daemon           how `up` starts the supervisor; its guardian, its trio run, its log, the requests to stop
    reconcile        bring what runs in line with the manifest: start order, edits, roll-outs, schedules, commands
    instance         one replica: its desired state, its restarts, how it is stopped
    readiness        whether an instance is ready: its checks, its registration, its entry in the registry
    backing          the embedded Redis and the registry
    context          one run of one project: what all of these share
    runtime          instances as processes of this machine, and as containers
    launch_options   how `up` was called
    cancel_event     an event that cancels the code that waits under it

Imports go down this list. Decisions are pure functions of states and a time; the trio code around them reads, calls and
acts. The supervisor refuses to know which instances are discoverable: that is the registry's.
"""
