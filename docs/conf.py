"""Sphinx's settings: `make docs` builds build/docs. The pages are Markdown, read by MyST."""

from __future__ import annotations

import builtins
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from django.conf import settings
from pygments.lexers.special import TextLexer
from sphinx.errors import ConfigError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

# The package reads Django's settings when it is imported.
settings.configure()

import django_memoized_prefetch  # noqa: E402

project = "django-memoized-prefetch"
author = "The django-memoized-prefetch developers"
release = version = metadata.version(project)

extensions = ["breathe", "myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["Doxyfile"]

# --- pages

myst_heading_anchors = 3
# Docstrings write names in single backquotes.
default_role = "code"
smartquotes = False
highlight_language = "none"

toc_object_entries_show_parents = "hide"

html_theme = "furo"
pygments_style = "friendly"
pygments_dark_style = "github-dark"
html_title = f"{project} {release}"
html_static_path = ["static"]
html_css_files = ["pictures.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False

# --- the Python reference

add_module_names = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False

# --- the C++ reference

breathe_projects = {"memoized_prefetch": str(ROOT / "build" / "doxygen" / "xml")}
breathe_default_project = "memoized_prefetch"
breathe_default_members = ("members",)

# `-n` warns of every name without a page. There is none for names of Python, Django and C++, because a build without
# a network cannot read the lists of names that those publish.
nitpick_ignore_regex = [
    (r"py:.*", r"(collections|django|models|os|typing)\..*"),
    (r"py:(class|exc)", "|".join(dir(builtins))),
    (r"py:class", r"Manager|Model|Prefetch|QuerySet|RawQuerySet"),
    (r"py:class", r"(django_memoized_prefetch\._(prefetch|memoized)\.)?Rows?|Size|.*\.ViewMapping"),
    (r"cpp:.*", r"(SQLite|detail|memoized_prefetch)\b.*|PGconn|handle_type|row_type"),
    (r"std:ref", r".*_8hpp"),  # the headers that declare concepts
]


def resolve_public(app: Any, env: Any, node: Any, content: Any) -> Any:
    """A type in a signature is named after its private module. Every public name is documented as the package's."""
    module, _, name = node.get("reftarget", "").rpartition(".")
    if not module.startswith("django_memoized_prefetch._") or name not in django_memoized_prefetch.__all__:
        return None
    domain, target = env.get_domain("py"), f"django_memoized_prefetch.{name}"
    return domain.resolve_xref(env, node["refdoc"], app.builder, "class", target, node, content)


def run_doxygen(_: Any) -> None:
    """Doxygen turns the headers' comments into XML, which Breathe reads."""
    if shutil.which("doxygen") is None:
        raise ConfigError("doxygen is not installed: script/bootstrap --docs installs it, or says how")
    (ROOT / "build" / "doxygen").mkdir(parents=True, exist_ok=True)
    subprocess.run(["doxygen", str(HERE / "Doxyfile")], cwd=ROOT, check=True)


def link_pages(text: str) -> str:
    """The repository's files link to each other by path. Those that are pages here are linked as pages."""
    text = re.sub(r"\]\((?:\.\./)?CHANGELOG\.md", "](changelog.md", text)
    text = re.sub(r"\]\((?:\.\./)?CONTRIBUTING\.md", "](contributing.md", text)
    text = re.sub(r"\]\(\.\./README\.md", "](index.md", text)
    return re.sub(r"\]\(docs/", "](", text)


def on_include(_: Any, path: Any, document: str, content: list[str]) -> None:
    content[0] = link_pages(content[0])


def on_source(_: Any, document: str, content: list[str]) -> None:
    content[0] = link_pages(content[0])


def setup(app: Any) -> None:
    # The pages show it as text, as GitHub alone draws it.
    app.add_lexer("mermaid", TextLexer)
    app.connect("missing-reference", resolve_public)
    app.connect("builder-inited", run_doxygen)
    app.connect("include-read", on_include)
    app.connect("source-read", on_source)
