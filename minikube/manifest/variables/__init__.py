"""Variables: `${VAR}` in strings of a manifest, and the environment of a service from all its sources.

    interpolate  `${VAR}` in strings, at once and at an instance's start (`${PORT}`)
    env_file     `.env` files and the files of `env_file`
    shared       `[env]` and `env_file` of the manifest under those of each service

It refuses to read files: `load` and `keys` do.
"""
