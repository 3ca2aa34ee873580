"""Masking, queueing and writing of output: the parts of which `instance_log` consists.

    masking        secrets, replaced by ***
    writer         the thread in which the logs of all instances write
    log_file       one log's files: appended to, rotated, cleared, made again where another program took them away
    dropped_lines  counts and reports of lines that never reached a file

It refuses to read pipes, and to read logs back.
"""
