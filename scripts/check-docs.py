#!/usr/bin/env python3
"""Checks that links in the documentation lead somewhere, and that the runbook has a heading for each error code and alert."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r'(?:=>|str =) "([a-z]+(?:_[a-z]+)+)"')
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


sources = [ROOT / "src" / module / "error.rs" for module in ("fulfil", "lookback", "stripe/api")]
codes = {code for source in sources for code in CODE.findall(source.read_text())}
alerts = re.findall(r"- alert: (\w+).*?runbook_url: (\S+)", (ROOT / "config/prometheus/alerts.yml").read_text(), re.DOTALL)
pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("crates/*/*.md")]
problems = [problem for page in sorted(pages) for problem in broken(page)]
runbook = anchors((ROOT / "docs/runbook.md").read_text())
problems += [f"docs/runbook.md: the error code {code} has no heading" for code in sorted(codes - runbook)]
problems += [
    f"config/prometheus/alerts.yml: {alert} points to {url}, which is not its heading"
    for alert, url in alerts
    if url != f"docs/runbook.md#{alert.lower()}" or alert.lower() not in runbook
]
print("\n".join(problems) or f"{len(pages)} pages, {len(codes)} error codes and {len(alerts)} alerts are in order")
sys.exit(1 if problems else 0)
