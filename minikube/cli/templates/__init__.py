"""The projects that `minikube init --template NAME` writes: a manifest, and the few files that make it run at once.

    template       a template: its manifest and files
    catalog        all templates by name
    web_worker_db  a web server, a worker and a database, in a container or from the PATH
    python_web     Django and FastAPI, in a virtual environment of the project
    node           a server of Node
    go             a server of Go

They refuse to install or start anything: what has to be installed, a service of the manifest installs.
"""
