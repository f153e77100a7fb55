"""`python -m session_kernels NAME -f CONNECTION_FILE`: what a kernel spec starts."""

from __future__ import annotations

import importlib
import sys

from session_kernels.language import Language

LANGUAGES = {
    "bash": "Bash",
    "c": "C",
    "cpp": "Cpp",
    "java": "Java",
    "octave": "Octave",
}
"""Modules of this package, and the language in each: only the one that runs is imported."""


def language(name: str) -> type[Language]:
    """The language of that name."""
    found: type[Language] = getattr(
        importlib.import_module(f"session_kernels.{name}"), LANGUAGES[name]
    )
    return found


def main(name: str, arguments: list[str]) -> None:
    """Be a kernel until told to end."""
    # ipykernel is in the image only.
    from ipykernel.kernelapp import IPKernelApp  # noqa: PLC0415

    from session_kernels.kernel import LanguageKernel  # noqa: PLC0415

    kernel = type("SessionKernel", (LanguageKernel,), {"make": language(name)})
    IPKernelApp.launch_instance(arguments, kernel_class=kernel)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
