"""Commands that need no running project: about the manifest, this machine and this program.

    init                write a first manifest
    validate            report the mistakes of the manifest
    config              print the manifest with variables filled in
    schema              print JSON Schemas
    graph               draw the dependencies; with states, where the project is running
    build               build container images; `up --build` uses it
    export              write files for Compose or Kubernetes
    import_             write a manifest from another tool's file
    doctor              check this machine
    completion_script   print the completion script of a shell
    version             print the version

They refuse to change a running project.
"""
