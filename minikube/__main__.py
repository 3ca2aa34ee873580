"""`python -m minikube …` is `minikube …` (floor 4)."""

from minikube.cli import main

if __name__ == "__main__":
    main()
