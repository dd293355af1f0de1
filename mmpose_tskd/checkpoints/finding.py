import os
from pathlib import Path
from typing import Optional

from mmengine.logging import print_log

from ..errors import UserError, printable
from .reading import is_url, read_checkpoint


def find_checkpoint(source: str) -> str:
    """The checkpoint that a path means.

    Args:
        source: A file, a URL, or the work folder of a run: its best checkpoint, else its last.

    Raises:
        UserError: There is none.
    """
    if is_url(source):
        return source
    path = Path(source)
    if os.path.isfile(path):  # pathlib's raises where a name is too long
        return str(path)
    if not os.path.isdir(path):
        raise UserError(f'there is no checkpoint or work folder {source}')
    best = sorted(path.glob('best_*.pth'), key=lambda p: p.stat().st_mtime)
    last = str(best[-1]) if best else find_resumable(source)
    if last is None:
        raise UserError(
            f'the work folder {source} holds no best_*.pth and no last_checkpoint: has its run saved anything yet?'
        )
    return last


def find_resumable(work_dir: str) -> Optional[str]:
    """The checkpoint that a stopped run goes on from: the one that ``last_checkpoint`` names, else its last whole one.

    The named one may be missing, since a run can be killed after MMEngine has removed an old checkpoint and before it
    writes ``last_checkpoint``. Of the path in that file only the name counts, and the last checkpoint is that of the
    highest iteration, not the newest file, so that a folder can be copied or moved.

    Returns:
        None where the folder has no checkpoint.

    Raises:
        UserError: There are checkpoints or a note, and none of them can be used.
    """
    folder = Path(work_dir)
    note = folder / 'last_checkpoint'
    noted = Path(note.read_text(errors='replace').strip()).name if note.is_file() else ''
    if noted and os.path.isfile(folder / noted):
        return str(folder / noted)
    files = [*folder.glob('epoch_*.pth'), *folder.glob('iter_*.pth'), *folder.glob('interrupted.pth')]
    iterations = {str(file): _iteration(str(file)) for file in files}
    last = max(iterations, key=lambda file: (iterations[file], os.stat(file).st_mtime), default='')
    if last and iterations[last] >= 0:
        return last
    if files or noted:
        what = f'{noted}, which {note} names, is not in it' if noted else 'all of its checkpoints are damaged'
        raise UserError(f'{work_dir} has nothing to go on from: {what}. To begin anew, name another work folder')
    return None


def _iteration(file: str) -> int:
    """The iteration that a checkpoint was saved after: 0 where it does not say, -1 where it is damaged."""
    try:
        content = read_checkpoint(file)
    except UserError as error:
        print_log(printable(f'{error}; another one is looked for'), logger='current')
        return -1
    meta = content.get('meta') if isinstance(content, dict) else None
    iteration = meta.get('iter') if isinstance(meta, dict) else None
    return iteration if isinstance(iteration, int) else 0
