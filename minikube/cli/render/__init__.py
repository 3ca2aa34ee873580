"""What commands print: text for people, and the shapes of `--json`. Almost all of it is pure.

    table           rows as aligned columns, ages
    ps_table        the rows of `ps`, and why an instance is not ready
    details         the texts of `describe` and `status`
    graph_drawing   dependencies as a tree and as a Mermaid flowchart
    log_printer     log lines and events, with a prefix for each instance
    colors          colours of states and instances
    schemas         what each command prints with `--json`

It refuses to ask a supervisor or a registry: commands hand over what they have read. Every text of a service or user is
made printable here, so that a terminal obeys none of it.
"""
