"""Start a supervisor, wait for it, and end it, from the process of a command.

    up_session         one run of `up`, from the launch of the supervisor to its end
    console_logs       the log lines that `up` prints, read from the log files
    dashboard_process  the dashboard in a process of its own: its answer, or a report of its crash
    terminal_modes     restore a terminal after a full-screen program has died
    goal_wait          wait until instances have reached a goal
    process_exit       wait for the exit of a process that is not a child; exit codes in words
    stop_progress      the instances that a stop of the project waits for
    force_stop         kill a supervisor that does not answer, and processes that an earlier run has left

It refuses to define commands: `commands` does.
"""
