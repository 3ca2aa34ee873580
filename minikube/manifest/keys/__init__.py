"""The keys of a service that need code of their own; `parser` has the table of all keys.

    commands    `command` as a list or a string, and `shell`
    containers  the keys that only containers have
    limits      the table `limits`

They are shapes: see `manifest.shapes`. They refuse nothing that depends on other keys: `validate` does.
"""
