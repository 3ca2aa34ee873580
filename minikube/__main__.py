"""`python -m minikube …`, the same as the command `minikube …`."""

from minikube.cli import main

if __name__ == "__main__":
    main()
