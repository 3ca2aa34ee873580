"""Container engines: Docker, Podman and nerdctl, driven through their own commands.

    command      find an engine's program, name containers, read its error messages
    arguments    a service of the manifest → the arguments of `create` and `build`
    networks     the network of containers, as engines describe it; whether this machine reaches it (pure)
    mounts       volumes as options of `create`, and the directories that they need
    leftovers    the record of the engine in use, and the removal of containers that an earlier run left

The folder refuses to start and to watch containers: `supervisor.runtime.container` does. It refuses to touch a container or
network without this project's label.
"""
