"""Exit codes that belong to no error class. An error class has its code in `MinikubeError.exit_code`."""

TIMED_OUT = 124
"""A wait ran out of time; the same code as `timeout(1)`."""

NOT_EXECUTABLE = 126
"""The command to run exists, but the system refuses to execute it; a shell's code."""

COMMAND_NOT_FOUND = 127
"""The command to run does not exist; a shell's code."""

INTERRUPTED = 130
"""The program was ended by Ctrl-C; a shell's code for it."""

OUTPUT_CLOSED = 141
"""The reader of stdout has ended, such as `head`; a shell's code for SIGPIPE."""
