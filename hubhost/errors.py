"""Problems that a person can mend, each one line: setting, value, what is allowed, the remedy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the settings or the host, and what to do about it."""

    subject: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.message}; {self.remedy}"


class Problems(ValueError):
    """All problems found in one look, one line each."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))
