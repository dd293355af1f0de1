"""Times and memory of calls that take turns, and what is written down of them."""

import gc
import json
import statistics
import tempfile
import time
from itertools import accumulate
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.profiler import ProfilerActivity, profile

from ...apis.environment import machine, versions
from ...errors import UserError

Call = Callable[[], Any]
Times = Dict[str, List[float]]


class Setting(NamedTuple):
    """What a benchmark is run at.

    Args:
        device: Where.
        batch_size: Instances.
        precision: ``'fp32'``, or ``'bf16'``: under autocast, as :class:`BF16OptimWrapper` trains.
        channels_last: Networks in that memory format, as :class:`ChannelsLastHook` trains.
        seed: Of the weights and the images.
        teacher_pass: How a distiller's teacher runs, see :class:`FrozenTeacher`. A teacher timed alone runs plain.
    """

    device: torch.device
    batch_size: int = 8
    precision: str = 'fp32'
    channels_last: bool = False
    seed: int = 0
    teacher_pass: str = 'plain'

    def prepare(self, model: Any) -> Any:
        """Moves a network to the device and into the memory format."""
        model = model.to(self.device)
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        return model

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == 'bf16')


def find_device(name: str) -> torch.device:
    """The device that ``'auto'`` (a GPU where one is), ``'cpu'`` or ``'cuda'`` means.

    Raises:
        UserError: There is no GPU.
    """
    there = torch.cuda.is_available()
    if name == 'cuda' and not there:
        raise UserError('--device cuda: torch finds no GPU here')
    return torch.device('cuda' if name != 'cpu' and there else 'cpu')


def seconds(call: Call, device: torch.device) -> float:
    """How long a call takes: by the clock on a CPU, between two events of the device on a GPU."""
    if device.type == 'cuda':
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000
    start_time = time.perf_counter()
    call()
    return time.perf_counter() - start_time


def take_turns(calls: Mapping[str, Call], rounds: int, device: torch.device, warmup: int = 1) -> Times:
    """Times calls in rounds, so that other work on the machine slows all of them alike.

    Args:
        calls: By name. Each round starts with another one.
        rounds: Rounds that count.
        device: Where they run.
        warmup: Rounds before that do not.

    Returns:
        By name, the seconds of each round.
    """
    times: Times = {name: [] for name in calls}
    names = list(calls)
    for i in range(-warmup, rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            elapsed = seconds(calls[name], device)
            if i >= 0:
                times[name].append(elapsed)
    return times


def quartiles(values: Sequence[float]) -> Dict[str, float]:
    """Median, and lower and upper quartile; of a single value, that value."""
    low, median, high = statistics.quantiles(values, n=4, method='inclusive') if len(values) > 1 else [values[0]] * 3
    return dict(median=median, q1=low, q3=high)


def ratio(times: Times, name: str, limit: Sequence[str]) -> Dict[str, float]:
    """Quartiles over the rounds of one call's time divided by the sum of other calls' times in the same round."""
    return quartiles([own / sum(others) for own, *others in zip(times[name], *(times[other] for other in limit))])


def peak_memory(call: Call, device: torch.device) -> int:
    """The most bytes of tensors that a call holds at a time, beyond those that were held before it."""
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'trace.json')
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())['traceEvents']
    changes = sorted((event['ts'], event['args']['Bytes']) for event in events if event.get('name') == '[memory]')
    return max(accumulate(change for _, change in changes), default=0)


def tensor_bytes(*sources: Any) -> int:
    """Bytes of the tensors of modules (parameters and buffers) and of the state of optimizers."""
    total = 0
    for source in sources:
        if isinstance(source, nn.Module):
            tensors = [*source.parameters(), *source.buffers()]
        else:
            tensors = [v for state in source.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
        total += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return total


def versions_and_machine() -> Dict[str, Any]:
    return dict(versions=versions(), machine=machine())


def circumstances(setting: Setting, **sizes: Any) -> Dict[str, Any]:
    """What a result was measured with: versions, machine, the setting, and the sizes given."""
    return {**versions_and_machine(), **setting._asdict(), 'device': str(setting.device), **sizes}


def print_rows(title: str, rows: List[Dict[str, Any]]) -> None:
    """Prints rows of the same keys as a Markdown table; numbers stand to the right."""
    table = Table(title=title, box=box.MARKDOWN)
    for key, value in rows[0].items():
        table.add_column(key, justify='left' if isinstance(value, str) else 'right')
    for row in rows:
        table.add_row(*('' if v is None else f'{v:.3f}' if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=140).print(table)
