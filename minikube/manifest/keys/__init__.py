"""The keys of a service that need code of their own; `parser` has the table of all keys.

    commands    `command` as a list or a string, and `shell`
    containers  the keys that only containers have
    engine_args which words `engine_args` must not have
    environment `env` and `env_file`
    health      `health`
    limits      the table `limits`
    ports       `port` and `ports`
    volumes     the strings of `volumes`

They are shapes: see `manifest.shapes`. They refuse nothing that depends on other keys: `validate` does.
"""
