"""Instances as containers of Docker, Podman or nerdctl, driven through the engine's own command.

    runtime      the `Runtime` for services that are containers: image, network, create, start
    container    one container as a running instance
    client       run the engine's command; notice an engine that does not answer
    images       build and pull images, once for all replicas
    network      the project's own network at the engine
    relay        forward connections from that network to a server on this machine's loopback
    host_relays  relays to the project's processes, which follow their starts and ends

The arguments of `create` and `build` are made by `minikube.engine.arguments`. The folder refuses to touch a container or network
without the project's label.
"""
