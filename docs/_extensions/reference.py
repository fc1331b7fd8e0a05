"""What a reference page shows beside the docstring: a picture, and what is tested."""

from modes import declared
from pictures import ALT


def setup(app):
    app.connect("config-inited", known)
    return {"parallel_read_safe": True}


def known(app, config):
    """For the templates, by the full names of the functions."""
    config.autosummary_context = {
        "pictures": {f"revnorm.{name}": text for name, text in ALT.items()},
        "tested": {f"revnorm.{item.function}" for item in declared()},
    }
