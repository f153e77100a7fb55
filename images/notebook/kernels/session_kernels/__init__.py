"""The kernels of a session that this project writes: Bash, C, C++, Java and Octave.

Each is a front that speaks Jupyter's protocol (ipykernel) and a process in which the language runs,
so whatever user code does ends that process at most, never the kernel.
"""

__version__ = "1.0"
