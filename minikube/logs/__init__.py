"""Log files: the output of every instance, written, rotated, read back, searched and followed.

    instance_log  one instance's output: read, cut into lines, masked, handed to the writing thread
    writing/      masks of secrets, the writing thread, the files it writes and rotates
    partial_line  output that waits for its newline, beside the log
    collector     the logs of all instances of a run, and readers of them for trio
    follower      one reader of several instances: first what is on disk, then what comes
    reader        one instance's files as one sequence of lines, backwards and forwards, across rotations
    merged        the lines of several instances in the order of time
    removed_file  the end of a removed file, which the next one may repeat
    blocks        blocks of a file, searched through before their lines are parsed
    filter        which lines a query selects: time, level, pattern
    query         what a user asks for
    levels        the level of a line: what a program wrote about how bad it is
    file_format   names of the files and the form of a line

The supervisor, the control API and the command line use it alike, so it stands below them. It refuses to know services,
processes or the control API, and `reader` works without trio: `minikube logs` reads the files when nothing runs.
"""
