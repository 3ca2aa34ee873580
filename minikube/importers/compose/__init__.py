"""Import of Compose files.

    files/         all files of a Compose project as one
    variables      `${VAR}` of Compose in the manifest's forms
    values         durations and sizes
    draft          the service that is being written, and what the readers of its keys share
    run            image, build, command, environment, user
    dependencies   `depends_on` and links
    health         health checks
    lifecycle      restarts, stops, logs, profiles, watched files
    ports          published ports
    volumes        mounts
    network        networks, host names
    resources      replicas and limits
    engine         keys that become words for the engine's `create`, and keys without a counterpart
    reader         the table of all keys, and the whole file

Every service becomes a container. A key that Compose knows and the manifest does not becomes `engine_args` where Docker and
Podman have an option for it; otherwise it is left out with a note.
"""

from minikube.importers.compose.reader import read

__all__ = ["read"]
