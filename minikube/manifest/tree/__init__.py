"""The content of TOML files as one tree whose nodes know their place, whatever file they come from.

    paths      key paths as text: `services.web.env."a b"`, `watch[0]`
    positions  where each key, value and list item stands in a text that `tomllib` has accepted
    node       the tree: a file's values with their places

It refuses to parse values, which `tomllib` does, and to know any key of a manifest.
"""
