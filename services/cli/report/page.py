"""The report as one HTML text."""

from importlib.metadata import version
from importlib.resources import files

import jinja2

from services.cli.report.colours import heat_gradient
from services.cli.report.pictures import WINDOW_HU
from services.cli.report.story import Story


def render(story: Story) -> str:
    """The page: self-contained, and every text from outside escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    here = files(__package__)
    return environment.from_string((here / "page.html").read_text()).render(
        story=story,
        style=(here / "style.css").read_text(),
        colours=dict(story.organs),
        gradient=heat_gradient(),
        window=WINDOW_HU,
        version=version("abdomenatlas"),
    )
