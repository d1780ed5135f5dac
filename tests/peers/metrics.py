"""Reads a page of /metrics from stdin with Prometheus' own strict parser of OpenMetrics, and prints its families as JSON."""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / ".tools" / "python"))

from prometheus_client.openmetrics.parser import text_string_to_metric_families  # noqa: E402

families = {}
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation, f"{family.name} has no HELP"
    samples = [[sample.name, sample.labels, sample.value] for sample in family.samples]
    families[family.name] = {"type": family.type, "unit": family.unit, "samples": samples}
json.dump(families, sys.stdout)
