import fcntl
import glob
import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, ClassVar, Iterator, List, Union

from mmengine.fileio import LocalBackend, register_backend

from ..errors import UserError


@register_backend('AtomicLocalBackend')
class AtomicLocalBackend(LocalBackend):
    """:class:`LocalBackend` whose files are whole or not there.

    A file is written under another name in the same folder, flushed to the disk and then renamed, so that neither a
    killed process nor a full disk leaves half of one, or puts it in the place of a good one. :meth:`remove` deletes a
    file only when the next one is written, since MMEngine removes the last checkpoint before it writes the new one.
    """

    partial: ClassVar[str] = '.partial'  # the end of the name of a file that is not whole yet
    outdated: ClassVar[List[Path]] = []  # of all instances, since MMEngine makes one for each file

    @contextmanager
    def opened(self, filepath: Union[str, Path]) -> Iterator[BinaryIO]:
        """A file to write bytes to, which takes its name when it is closed; where that fails, nothing is left.

        Raises:
            UserError: It cannot be written.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.', suffix=self.partial)
        try:
            with os.fdopen(handle, 'wb') as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as long as it is written
                for other in path.parent.glob(f'.{glob.escape(path.name)}.*{self.partial}'):
                    if str(other) != partial:
                        _remove_left(other)
                yield file
                file.flush()
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(partial, 0o666 & ~umask)  # mkstemp's files are private
            os.replace(partial, path)
        except BaseException as error:
            os.unlink(partial)
            if isinstance(error, OSError):
                raise UserError(f'{path} cannot be written ({error}): is there space left on its disk?') from error
            raise

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """As :meth:`LocalBackend.put`."""
        with self.opened(filepath) as file:
            file.write(obj)
        for old in self.outdated:
            if old != Path(filepath).resolve():
                old.unlink(missing_ok=True)
        self.outdated.clear()

    def remove(self, filepath: Union[str, Path]) -> None:
        """As :meth:`LocalBackend.remove`, once another file is written."""
        self.outdated.append(Path(filepath).resolve())

    def rmtree(self, dir_path: Union[str, Path]) -> None:
        """Refuses: a checkpoint is a file.

        Raises:
            UserError: Always.
        """
        raise UserError(f'{dir_path} is a folder where a checkpoint belongs: move it elsewhere')

    def put_text(self, obj: str, filepath: Union[str, Path], encoding: str = 'utf-8') -> None:
        """As :meth:`LocalBackend.put_text`."""
        self.put(obj.encode(encoding), filepath)


def _remove_left(partial: Path) -> None:
    """Removes what a killed process has left; not what another one is writing, or what belongs to somebody else."""
    with suppress(OSError):
        handle = os.open(partial, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()
        finally:
            os.close(handle)
