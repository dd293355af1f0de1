"""JSON files of results with a digest, which shows whether they were changed after they were written."""

import hashlib
import json
from pathlib import Path
from typing import Any, Dict, Optional

from ..engine.atomic_backend import AtomicLocalBackend
from ..errors import UserError


def write_record(content: Dict[str, Any], path: Path) -> None:
    """Writes a record, with a digest of itself; the file is whole or not there."""
    text = json.dumps({**content, 'digest': _digest(content)}, separators=(',', ':'))
    AtomicLocalBackend().put_text(text + '\n', path)


def read_record(path: Path, **kinds: Any) -> Optional[Dict[str, Any]]:
    """What :func:`write_record` wrote, or None where there is no file.

    Args:
        path: The file.
        kinds: The entries that it must have, and their types.

    Raises:
        UserError: The file is cut off, its content is not what was written, or it is another kind of record.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} is not a whole JSON file ({error}): delete it, and it is made anew') from error
    if not isinstance(content, dict) or content.pop('digest', None) != _digest(content):
        raise UserError(f'{path} is not as it was written (its digest differs): delete it, and it is made anew')
    wrong = [key for key, kind in kinds.items() if not isinstance(content.get(key), kind)]
    if wrong:
        raise UserError(f'{path} is no such record, which has {", ".join(wrong)}: delete it, and it is made anew')
    return content


def _digest(content: Dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
