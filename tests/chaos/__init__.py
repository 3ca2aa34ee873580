"""A command that disturbs a running project and checks the contract: `python -m tests.chaos`.

    __main__         the options; the outer process, which makes namespaces, and the inner one, which runs
    namespaces       network, mounts and pids of a run's own
    runner           one run: start, steps, settle, stop
    run_context      what the parts of a run share
    script           which operation follows which, drawn from a seed (pure)
    operations/      what is done to the project
    lifecycle        start it, see that nothing is left, start it again
    project, service the manifest, the command `minikube`, and the program of every service
    shifted_clock/   the clock of the project's processes
    engine           a container engine of the run's own
    processes        births, deaths by pidfd, and what is left
    guests           services that this program registers itself
    dashboard        the dashboard on a terminal of its own
    flood            a hostile client of another user
    registry_client  the registry's RPC, without the SDK's repetitions
    observers        lookups, the watch, the shown state, memory and descriptors
    log_follower     whether a follower of the log gets each line
    settling, views  whether everything is well and all views agree (`views` is pure)
    model            what must be true, and what a fault excuses (pure)
    report           the table and the JSON line
    log              what is written down, and read for a replay
    shrink           the shortest script that still fails (pure)
    stranger         a command of its own: another local user tries to change a running project, and changes nothing
    intruder         what that user tries

The model decides what is wrong; the operations only say what they allow. It refuses to touch anything outside its namespaces and
its directory.
"""
