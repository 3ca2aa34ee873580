"""The reader of supervisord.conf.

    config   `read`: a file with those that it includes, groups, priorities, and the sections that are left out
    program  one `[program:x]` as a service or several
    values   options and their values: `%(ENV_HOME)s`, lists of variables
    ini      the sections and options of a file, with their lines

It refuses to look up users, and what `%(ENV_X)s` is: `${X}` takes its place.
"""
