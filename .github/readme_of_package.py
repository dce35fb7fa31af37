"""The description of the package on PyPI: README.md, its links as they work there. The build (hatchling) calls it.

A link to another page leads to the repository where `[project.urls]` names a `Source`; otherwise its words stay, without a link.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://)([^)\s]+)\)")

WHERE = "The pages named here are in the repository. Those of the packages are also installed, each as `README.md` in its folder."


def described(text: str, source: str | None, version: str) -> str:
    """README.md as a page of its own."""

    def elsewhere(link: re.Match[str]) -> str:
        picture, words, target = link.groups()
        if target.startswith("#") or source is None:
            return "" if picture else words
        return f"{picture}[{words}]({source}/{'raw' if picture else 'blob'}/v{version}/{target})"

    page = re.sub(r"<!-- contents -->.*?<!-- end -->\n+", "", LINK.sub(elsewhere, text), flags=re.DOTALL)
    return page if source else f"{page}\n{WHERE}\n"


class CustomMetadataHook(MetadataHookInterface):
    """Sets `readme`, which pyproject.toml declares dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Read README.md beside pyproject.toml."""
        source = metadata.get("urls", {}).get("Source")
        text = described((Path(self.root) / "README.md").read_text(encoding="utf-8"), source, metadata["version"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
