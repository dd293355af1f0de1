import fcntl
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Holds a file's lock, which one process at a time can have, and which ends with it however it ends.

    Unlike ``flock``'s, it is not inherited: the loading processes of a killed run do not hold it for another five
    seconds.

    Args:
        path: The file, which is made where there is none.
        wait: Wait for the process that has it.

    Raises:
        BlockingIOError: Another process has it, and ``wait`` is False.
        OSError: The file cannot be made, or its file system knows no locks.
    """
    if path.exists() and not path.is_file():
        raise OSError(f'{path} is no regular file')  # a pipe would be waited for
    with path.open('a') as file:
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
