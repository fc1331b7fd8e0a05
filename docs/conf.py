"""How Sphinx builds the site: offline, every warning an error."""

import os
import sys
from importlib import metadata
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "_extensions"), str(DOCS.parent / "tests")]

# Keras has one backend a process, and would look for TensorFlow.
os.environ.setdefault("KERAS_BACKEND", "torch")

project = "revnorm"
author = "The revnorm developers"
copyright = author
release = metadata.version(project)

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "myst_parser",
    "numpydoc",
    "backend_table",
    "docstrings",
    "example_pages",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
nitpicky = True

autodoc_typehints = "none"
autosummary_ignore_module_all = False
numpydoc_show_class_members = False

html_theme = "furo"
html_static_path = ["_static"]
html_title = f"revnorm {release}"
