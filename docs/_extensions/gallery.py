"""Words for the pictures of the gallery: a figure's label is its alternative text."""

import re
from pathlib import Path
from textwrap import indent

import matplotlib.pyplot as plt
from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx_gallery.scrapers import matplotlib_scraper

ALT = re.compile(r"(:alt:).*")
WORDS = re.compile(r":alt: (.+)")
PICTURE = re.compile(r"sphx_glr_(\w+)_thumb\.\w+$")
NUMBER = re.compile(r"sphinx_gallery_thumbnail_number = (\d+)")


def described(block, block_vars, gallery_conf, **options):
    """The scraper of matplotlib's figures, with their labels."""
    labels = [plt.figure(number).get_label() for number in plt.get_fignums()]
    if not all(labels):
        raise ExtensionError(f"a figure of {block_vars['src_file']} has no label")
    words = iter(labels)
    text = matplotlib_scraper(block, block_vars, gallery_conf, **options)
    text = ALT.sub(lambda found: f"{found[1]} {next(words)}", text)
    return f"\n\n.. container:: picture\n\n{indent(text, '   ')}\n\n" if labels else text


def _get_sg_image_scraper():
    return described


def describe_thumbnails(app, doctree):
    """Gives a thumbnail the words of the picture that it was made from."""
    for image in doctree.findall(nodes.image):
        found = PICTURE.search(image["uri"])
        if found and not image.get("alt"):
            image["alt"] = words_of(Path(app.srcdir) / "examples" / found[1])


def words_of(example):
    """What is seen on the thumbnail of an example, by the page that was made of it."""
    page, program = (
        example.with_suffix(suffix).read_text(encoding="utf-8") for suffix in (".rst", ".py")
    )
    words = WORDS.findall(page)
    number = NUMBER.search(program)
    # Pages whose program was not run have none.
    return words[int(number[1]) - 1 if number else 0] if words else example.name


def setup(app):
    app.connect("doctree-read", describe_thumbnails)
    return {"parallel_read_safe": True}
