"""Layers of keys as one manifest: several files, `[defaults]`, extended services, and the own keys of a service.

    merge    several trees as one: later keys win, tables merge, lists replace
    inherit  `[defaults]` and `extends`
    origins  where each value comes from: `minikube config --origins`

It refuses to read files and to check values: `load` and `parser` do.
"""
