"""Reads a YAML file, and prints its documents as a JSON array. A key that comes twice is an error."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / ".tools" / "python"))

import yaml  # noqa: E402


class Strict(yaml.SafeLoader):
    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{twice} more than once", node.start_mark)
        return super().construct_mapping(node, deep)


with open(sys.argv[1], encoding="utf-8") as file:
    json.dump(list(yaml.load_all(file, Strict)), sys.stdout)
