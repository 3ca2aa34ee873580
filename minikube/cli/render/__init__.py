"""The output of commands: text for people, and the types of `--json`. Almost all of it is pure.

    table           rows as aligned columns, ages
    ps_table        the rows of `ps`, and why an instance is not ready
    details         the texts of `describe` and `status`
    graph_drawing   dependencies as a tree and as a Mermaid flowchart
    log_printer     log lines and events, with a prefix for each instance
    origins         the origins of the values of a manifest
    colors          colours of states and instances
    schemas         the output types of `--json`, by command

It refuses to ask a supervisor or a registry: commands pass it data. In every text of a service or user, control characters
are escaped here, so that they cannot change the terminal.
"""
