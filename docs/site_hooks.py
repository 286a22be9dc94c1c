"""What the site has beside docs/: the pages at the top of the repository, and a list of what is in adr/."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

TOP = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
DECISIONS = "adr/index.md"
NAMED = re.compile(r"\[([a-z-]+\.md)\]\(((?:\.\./)*\1)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not stand in docs/."""
    docs = Path(config.docs_dir)
    for name, page in TOP.items():
        text = (docs.parent / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, DECISIONS, content=_decisions(docs / "adr")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at what a folder or a page outside docs/ has become, and call pages by their titles."""
    up = "../" * page.file.src_uri.count("/")
    text = re.sub(
        r"\]\((?:\.\./)+(CONTRIBUTING|CHANGELOG)\.md", lambda m: f"]({up}{m[1].lower()}.md", markdown
    )
    text = NAMED.sub(lambda m: f"[{_title(Path(config.docs_dir, m[1]))}]({m[2]}{m[3] or ''})", text)
    return text.replace("](adr/)", f"]({up}{DECISIONS})")


def _title(page: Path) -> str:
    """Return a page's first heading."""
    return page.read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ")


def _decisions(folder: Path) -> str:
    """Return a page that lists the decision records, by number."""
    titles = {path.name: _title(path) for path in sorted(folder.glob("[0-9]*.md"))}
    lines = "\n".join(f"- [{title}]({name})" for name, title in titles.items())
    return f"# Decisions\n\nChoices that are hard to reverse, each with its reason.\n\n{lines}\n"
