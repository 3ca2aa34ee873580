"""The files of other tools that tests import: a directory each in tests/unit/importers/samples, by tool and name."""

from pathlib import Path

_ROOT = Path(__file__).parent / "unit" / "importers" / "samples"

SAMPLES = {str(path.relative_to(_ROOT)): path for path in _ROOT.glob("*/*") if path.is_dir()}
"""The directory of each sample, by `TOOL/NAME`."""

_FILES = ("Procfile.dev", "app.ini")
"""Files that have to be named: a directory is not searched for them."""


def source_of(project: Path) -> Path:
    """Return what is imported of a project: its directory, or the file that has to be named."""
    return next((project / name for name in _FILES if (project / name).exists()), project)
