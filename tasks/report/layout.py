"""The templates of the report: what is laid out with one is escaped, and shows what cannot be seen.

Class and file names are hostile, and so are the examples themselves.
"""

from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.report.wording import as_written, count, decimal, markdown, percent, points, points_only, visible

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, page: Mapping[str, object]) -> str:
    """``page`` laid out by a template of this folder; HTML or Markdown by the template's name."""
    return _environment(is_html=template.endswith(".html.j2")).get_template(template).render(page)


@cache
def _environment(*, is_html: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=is_html,
        finalize=visible if is_html else markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": percent, "points": points, "decimal": decimal}
    environment.filters |= {"points_only": points_only, "counted": count, "as_written": as_written}
    environment.filters |= {"base64": lambda content: b64encode(content).decode()}
    return environment
