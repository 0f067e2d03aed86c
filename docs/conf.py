"""How the site is built: ``docs/build``. Its API reference is read from the library's own docstrings."""

from __future__ import annotations

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import k8sha

project = "k8sha"
author = project_copyright = "the authors of k8sha"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "k8sha"
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": True}
add_module_names = False
maximum_signature_line_length = 88
nitpick_ignore_regex = [
    # Names of Python and of libraries: their lists would have to be fetched, and a build asks for nothing.
    (r"py:.*", r"(?!k8sha\.|Component\.|Addon\.).*"),
    # What stands behind public names and is nobody's to construct.
    (r"py:class", r"k8sha\.(hosts\.(link|program)|etcd\.(access|schedule)|loadbalancers\.keepalived)\..*"),
    (r"py:class", r"k8sha\.objects\.(identity|claims)\..*"),
    (r"py:class", r"k8sha\.(cluster\.T|components\.masters\.MasterState|etcd\.age\.Stanza|.*\._\w+)"),
]


def repeats(app: Sphinx, what: str, name: str, member: object, skip: bool, options: object) -> bool | None:
    """Leave out what a subclass says again: its docstring points to where it is told."""
    return True if (getattr(member, "__doc__", None) or "").startswith("See :") else None


def public(app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: Element) -> Element | None:
    """Find names by which docstrings call things: ``Component.plan``, or by the module that they are written in."""
    target, domain = str(node.get("reftarget")), env.domains.python_domain
    modules = {module for name, module in k8sha._WHERE.items() if name in target.split(".")}
    inside = [f"k8sha.{target.removeprefix(f'{module}.')}" for module in modules]
    for name in (*inside, f"k8sha.{target}", f"k8sha.addons.{target}"):
        if name in domain.objects:
            return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, shown)
    return None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", repeats)
    app.connect("missing-reference", public)
