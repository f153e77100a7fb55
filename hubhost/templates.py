"""Templates in files/: rendered with typed values, where a value that is missing is an error."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FILES = Path(__file__).parents[1] / "files"

_environment = Environment(
    loader=FileSystemLoader(FILES),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701  (configuration files, not HTML)
)


def render(template: str, **values: Any) -> str:
    """Render files/`template`. Raises jinja2.UndefinedError for a value that is not given."""
    return _environment.get_template(template).render(**values)
