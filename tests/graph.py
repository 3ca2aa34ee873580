"""Draw the dependency graph of a package as Mermaid: `python -m tests.graph [PACKAGE]`.

    python -m tests.graph                        the packages and modules directly below `minikube`
    python -m tests.graph minikube.supervisor    those directly below another package

An arrow points from the importer to what it imports; its label is the number of imports behind it. GitHub and GitLab show a
`mermaid` code block as a picture. Imports inside functions and behind `if TYPE_CHECKING:` are included.
"""

import sys
from collections import Counter

import grimp

ROOTS = ("minikube", "services", "tui")


def count_imports(package: str) -> Counter[tuple[str, str]]:
    """Return (importer, imported) → number of imports, between the direct children of a package.

    Raises `ValueError` for an unknown package.
    """
    graph = grimp.build_graph(*ROOTS, cache_dir=None)
    if package not in graph.modules:
        raise ValueError(f"{package}: no such package of {', '.join(ROOTS)}")
    depth = package.count(".") + 2
    prefix = f"{package}."
    counts: Counter[tuple[str, str]] = Counter()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            if module.startswith(prefix) and imported.startswith(prefix):
                edge = (_child(module, depth), _child(imported, depth))
                if edge[0] != edge[1]:
                    counts[edge] += 1
    return counts


def draw(package: str) -> str:
    """Return a package's graph as a Mermaid flowchart. Raises as `count_imports`."""
    counts = count_imports(package)
    # The ids end in an underscore: `graph`, the name of a module here, is a keyword of Mermaid.
    lines = ["flowchart TD"]
    lines += [f"    {name}_[{name}]" for name in sorted({name for edge in counts for name in edge})]
    lines += [f"    {importer}_ -->|{count}| {imported}_" for (importer, imported), count in sorted(counts.items())]
    return "\n".join(lines)


def _child(module: str, depth: int) -> str:
    """Return the last name of a module's ancestor at a depth: `a.b.c.d`, 3 → `c`."""
    return module.split(".")[:depth][-1]


def main(arguments: list[str]) -> int:
    """Print the graph of the package that is named, else of `minikube`; return the exit code."""
    try:
        print(draw(arguments[0] if arguments else ROOTS[0]))
    except ValueError as error:
        print(f"tests.graph: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
