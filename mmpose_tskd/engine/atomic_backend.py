import os
import tempfile
from pathlib import Path
from typing import Union

from mmengine.fileio import LocalBackend, register_backend


@register_backend('AtomicLocalBackend')
class AtomicLocalBackend(LocalBackend):
    """:class:`LocalBackend` whose files are whole or not there.

    A file is written under another name in the same folder, flushed to the disk and then renamed, so that neither a
    killed process nor a full disk leaves half of one, or puts it in the place of a good one.
    """

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """As :meth:`LocalBackend.put`."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
        try:
            with os.fdopen(handle, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(partial, 0o666 & ~umask)  # mkstemp's files are private
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise

    def put_text(self, obj: str, filepath: Union[str, Path], encoding: str = 'utf-8') -> None:
        """As :meth:`LocalBackend.put_text`."""
        self.put(obj.encode(encoding), filepath)
