"""How Sphinx builds the site: offline, every warning an error."""

import os
import sys
from importlib import metadata
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / folder) for folder in ("_extensions", "api", "../tests")]

# Keras has one backend a process, and would look for TensorFlow.
os.environ.setdefault("KERAS_BACKEND", "torch")

project = "revnorm"
author = "The revnorm developers"
copyright = author
release = metadata.version(project)

extensions = [
    "asv_site",
    "gallery",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "formulas",
    "matplotlib.sphinxext.plot_directive",
    "measured",
    "modes",
    "reference",
    "myst_parser",
    "numpydoc",
    "backend_table",
    "docstrings",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
nitpicky = True

autodoc_typehints = "none"
autosummary_ignore_module_all = False
numpydoc_show_class_members = False

html_math_renderer = "mathml"
plot_formats = [("svg", 72)]
plot_html_show_formats = False
plot_html_show_source_link = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_title = f"revnorm {release}"

# ETT is not in any package: that example is run where REVNORM_ETT says that the data are.
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "examples",
    "backreferences_dir": "examples/uses",
    "filename_pattern": rf"/{'' if 'REVNORM_ETT' in os.environ else '(?!forecast_ett)'}\w+\.py$",
    "image_scrapers": ("gallery",),
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1e9,
    "show_signature": False,
    "write_computation_times": False,
    "copyfile_regex": r"index\.rst",
}
