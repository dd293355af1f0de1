"""Runs benchmarks of several checkouts or settings in turns, such as before and after a change."""

import json
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from ...apis.environment import write_json
from ...errors import UserError
from .measuring import Times, print_rows, quartiles, ratio, versions_and_machine

MEASURED = ('seconds', 'transforms_ms')  # what the benchmarks call their times


def compare_commands(commands: Sequence[str], rounds: int, out: str) -> Dict[str, Any]:
    """Runs commands in rounds, so that other work on the machine slows all of them alike, and compares their times.

    Args:
        commands: ``NAME=COMMAND``, where the command takes ``--json FILE`` as those of ``tools/lab/benchmark.py`` do.
            Commands of the same name add up, such as the kinds of benchmark of one checkout. The first name is what
            the others are compared with. Each round starts with another command.
        rounds: How often each takes its turn.
        out: The file to write.

    Returns:
        What the file holds: ``times``, by name and by what was timed, one value a round: the median of the times that
        the command wrote; ``ratios``, the same divided by those of the first name (quartiles over the rounds); and
        what it was measured with.

    Raises:
        UserError: A command is not ``NAME=COMMAND``, or ends with an error.
    """
    for command in commands:
        if '=' not in command.split(' ')[0]:
            raise UserError(f'a command to time is NAME=COMMAND, not {command!r}')
    pairs = [command.partition('=')[::2] for command in commands]
    times: Dict[str, Times] = {name: {} for name, _ in pairs}
    for i in range(rounds):
        start = i % len(pairs)
        for name, command in pairs[start:] + pairs[:start]:
            for what, value in _run(command):
                times[name].setdefault(what, []).append(value)
    first = pairs[0][0]
    ratios: Dict[str, Dict[str, Any]] = {}
    rows: List[Dict[str, Any]] = []
    for what in dict.fromkeys(what for found in times.values() for what in found):
        row: Dict[str, Any] = {'what': what}
        for name, found in times.items():
            row[name] = quartiles(found[what])['median'] if what in found else None
            both = what in found and what in times[first]
            if name != first and both:
                pair = {first: times[first][what], name: found[what]}
                ratios.setdefault(name, {})[what] = ratio(pair, name, [first])
            if name != first:
                row[f'{name} / {first}'] = ratios[name][what]['median'] if both else None
        rows.append(row)
    print_rows(f'{rounds} rounds', rows)
    result = dict(times=times, ratios=ratios, rounds=rounds, **versions_and_machine())
    write_json(result, out)
    return result


def _run(command: str) -> Iterator[Tuple[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, 'out.json')
        done = subprocess.run([*shlex.split(command), '--json', str(file)], capture_output=True, text=True)
        if done.returncode:
            raise UserError(f'{command} ended with status {done.returncode}:\n{done.stderr[-2000:]}')
        result = json.loads(file.read_text())
    for part in MEASURED:
        yield from _leaves(result.get(part, {}), f'{part} ')


def _leaves(times: Mapping[str, Any], above: str) -> Iterator[Tuple[str, float]]:
    for key, value in times.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f'{above}{key} ')
        else:
            yield above + key, quartiles(value if isinstance(value, list) else [value])['median']
