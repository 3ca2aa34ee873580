"""How this process starts, follows and ends a supervisor.

    up_session     what `up` does from the launch of the supervisor to its end
    console_logs   the log lines that `up` prints, read from the log files
    goal_wait      wait until instances have reached a goal
    process_exit   wait for the end of a process that is not a child
    stop_progress  which instances hold up a stop
    force_stop     end a supervisor that does not answer, and what an earlier run left running

It refuses to define commands: `commands` does. Only `up_session` knows how a supervisor was launched.
"""
