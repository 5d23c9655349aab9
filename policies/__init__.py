"""The policies that ship with this stack, found wherever it is installed. Imports no module."""

from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the names of the shipped policies."""
    return sorted(path.stem for path in FOLDER.glob("*.onnx"))


def find(policy: Path | str) -> Path:
    """Return the file of a policy: the file named or, where there is none, the shipped policy.

    ``trot``, ``trot.onnx`` and ``policies/trot.onnx`` name the shipped trot in every folder. A path
    that names nothing is returned as it is.
    """
    path = Path(policy)
    if not path.exists() and path.parent in (Path(), Path(FOLDER.name)):
        shipped = FOLDER / f"{path.name.removesuffix('.onnx')}.onnx"
        return shipped if shipped.is_file() else path
    return path
