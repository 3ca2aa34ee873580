"""The reader of pm2's JSON and YAML.

ecosystem  `read`: the apps of a file, and their names
app        one app as a service
"""
