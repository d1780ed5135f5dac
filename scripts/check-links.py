#!/usr/bin/env python3
"""Checks that relative links in the documentation lead to a file, and their #fragments to a heading."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    found = []
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        path, _, fragment = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            found.append(f"{page.relative_to(ROOT)}: {target} does not exist")
        elif fragment and fragment not in anchors(file.read_text()):
            found.append(f"{page.relative_to(ROOT)}: {target} has no such heading")
    return found


pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
problems = [problem for page in sorted(pages) for problem in broken(page)]
print("\n".join(problems) or f"{len(pages)} pages: all links lead somewhere", file=sys.stderr if problems else sys.stdout)
sys.exit(1 if problems else 0)
