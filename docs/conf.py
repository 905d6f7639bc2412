"""The configuration of the site: `.venv/bin/python -m sphinx -W docs docs/_build` builds it."""

import os
import pathlib
import sys

import jaxlib.version

HERE = pathlib.Path(__file__).parent
# Pages run small programs a few times, so that compiling is most of the work: they share what is
# compiled, and XLA's older emitter, which jaxlib 0.11 dropped, takes a third of the time.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(HERE / "_build" / ".jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
if jaxlib.version.__version_info__ < (0, 11):
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
    )
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "tests"), str(HERE.parent)]

from inventories import find_reachable  # noqa: E402
from source_digest import digest_sources  # noqa: E402

import jaxmom  # noqa: E402

project = "jaxmom"
author = copyright = "The jaxmom authors"
release = version = jaxmom.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
    "api",
    "mathml",
    "gallery_pages",
    "method_pages",
]
exclude_patterns = ["_build", "_ext", "jupyter_execute"]  # the last one is what cells wrote

# Pages: MyST markdown. Those with cells are executed, each in a process of its own. What a cell
# printed is kept until the page or the package changes.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / ".cells" / digest_sources())
nb_execution_in_temp = True  # what a page writes is not kept
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Cells run the package of this checkout, and know nothing of earlier sweeps of this machine.
os.environ["PYTHONPATH"] = str(HERE.parent)
os.environ["JAXMOM_CACHE_DIR"] = str(HERE / "_build" / ".jaxmom")
os.environ.pop("MPLBACKEND", None)  # a kernel shows its figures, unless this says otherwise

# Docstrings: Google style. What stands in single backticks is a reference where it can be one.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autosummary_generate = False
napoleon_custom_sections = ["Source"]
napoleon_use_ivar = True
napoleon_use_rtype = False
intersphinx_mapping = find_reachable()

html_theme = "sphinx_book_theme"
html_title = "jaxmom"
html_static_path = ["_static"]
html_css_files = ["jaxmom.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "show_navbar_depth": 1,
    "home_page_in_toc": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
}
