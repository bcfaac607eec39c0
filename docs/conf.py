"""Sphinx settings of the documentation site; ``make docs`` builds it.

Everything is local: no theme file, script or cross-reference comes from the network.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent / "_ext")]

project = "BERT as a service on TFX"
author = "The bert-tfx authors"
copyright = author
version = release = "0.1.0"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "repository_pages",
    "api_docstrings",
]
exclude_patterns = ["_ext"]
nitpicky = True
# What the signatures of other projects name has no page here, and the network is not asked.
nitpick_ignore_regex = [
    (r"py:.*", r"(UserError|EnvPrefixTarget|DotenvType|CliSettingsSource|PathType|Pydantic\w+)"),
    (
        r"py:.*",
        r"(collections|contextlib|concurrent|os|pathlib|types|typing|numpy|np|npt|pydantic|"
        r"pydantic_settings|pydantic_core|annotated_types|httpx|grpc|ssl)(\..*)?",
    ),
    (r"py:.*", r"(modules|components|serving\.protocol)\..*"),
    (r"py:.*", r"(Path|Any|Self|Literal|Mapping|Sequence|Iterable|Iterator|AsyncIterable)"),
]

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autoclass_content = "class"
napoleon_use_ivar = True
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = project
html_static_path: list[str] = []
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "monokai"
