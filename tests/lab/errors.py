"""The one error people see: a line that says what is wrong and what to do."""


class LabError(Exception):
    """Something the person at the keyboard can act on; its text is one line with the remedy."""
