"""Pages of the site that are written elsewhere: READMEs of the repository where they lie, and the API from docstrings.

A README keeps its path on the site, so that its links to others, to figures and to tables hold as they are; what a
page links to is taken along.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ode_vgan"
LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")
NOT_API = {"cli", "bench"}  # commands describe themselves by --help
API_TITLE = "ode_vgan"  # modules beside the folders


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name every API page below `API` in the navigation."""
    for entry in config.nav:
        if "API" in entry:
            entry["API"] += [{name: f"api/{name}.md"} for name in api_pages()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the READMEs that the navigation names, all that they link to, and the API's pages."""
    own = {file.src_uri for file in files}
    for uri in sorted(linked(uri for uri in _leaves(config.nav) if uri not in own and not uri.startswith("api/"))):
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / uri)))
    files.append(File.generated(config, "api/index.md", content=_api_index()))
    for name, modules in api_pages().items():
        files.append(File.generated(config, f"api/{name}.md", content=_api_page(name, modules)))
    return files


def linked(uris: Iterator[str]) -> set[str]:
    """Paths below the repository of files, and of every file that a Markdown one of them links to, and so on."""
    found, pending = set(), list(uris)
    while pending:
        uri = pending.pop()
        if uri in found:
            continue
        found.add(uri)
        if uri.endswith(".md"):
            here = (ROOT / uri).parent
            targets = [(here / link).resolve() for link in LINK.findall((ROOT / uri).read_text()) if "://" not in link]
            pending += [path.relative_to(ROOT).as_posix() for path in targets if path.is_file()]
    return found


def api_pages() -> dict[str, list[str]]:
    """Modules with a docstring by the page that shows them: one page a folder of the package."""
    pages: dict[str, list[str]] = {API_TITLE: []}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        folder = parts[1] if len(parts) > 2 else API_TITLE
        if folder in NOT_API or path.name == "__init__.py" or path.name.startswith("_"):
            continue
        pages.setdefault(folder, []).append(".".join(parts))
    return {name: modules for name, modules in pages.items() if modules}


def _api_page(name: str, modules: list[str]) -> str:
    return "\n\n".join([f"# {name}", *(f"::: {module}" for module in modules)]) + "\n"


def _api_index() -> str:
    lines = ["# API", "", "From the docstrings. Shapes and symbols are those of the legend:", "", "::: ode_vgan", ""]
    lines += ["| page | modules |", "|---|---|"]
    for name, modules in api_pages().items():
        stems = ", ".join(f"`{module.rpartition('.')[2]}`" for module in modules)
        lines.append(f"| [{name}]({name}.md) | {stems} |")
    return "\n".join(lines) + "\n"


def _leaves(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for inner in nav.values():
            yield from _leaves(inner)
    else:
        for inner in nav:
            yield from _leaves(inner)
