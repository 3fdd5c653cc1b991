"""The Feast configuration of a home."""

from __future__ import annotations

import json
import os
from pathlib import Path

from feature_repo.home import DEFAULT_YAML, Home


def write_feature_store_yaml(home: Home) -> Path:
    """Write the Feast configuration of a home other than the default; return the one in force.

    The file may hold a password and is for its owner only.
    """
    path = home.feature_store_yaml
    if home.is_default:
        return path
    values = {
        "registry": str(home.root / "registry.db"),
        "prepared_directory": str(home.prepared),
        "connection_string": home.redis,
    }
    lines = []
    for line in DEFAULT_YAML.read_text(encoding="utf-8").splitlines():
        name = line.partition(":")[0]
        if name.strip() in values:
            line = f"{name}: {json.dumps(values[name.strip()], ensure_ascii=False)}"  # JSON text is YAML too
        if not line.startswith("#"):
            lines.append(line + "\n")
    text = "".join(lines)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
        partial.replace(path)
    return path
