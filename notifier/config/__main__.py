"""`python -m notifier.config [FILE]` writes the JSON Schema, by default to config/notifier.schema.json."""

import json
import sys
from pathlib import Path

from notifier.config.schema import json_schema

if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "config/notifier.schema.json")
    target.write_text(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
