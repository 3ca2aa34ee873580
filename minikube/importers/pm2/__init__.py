"""The reader of pm2's JSON and YAML.

    ecosystem  `read`: the apps of a file, and their names
    app        one app as a service: environment, instances, restarts, stops
    script     its script as a command

It refuses to run a file that is a program; of a script it reads the first bytes, to tell what runs it.
"""
