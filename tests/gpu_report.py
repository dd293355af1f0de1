"""Options of `make test-gpu`, and the report that it writes; a plugin of pytest."""

from pathlib import Path

from mmpose_tskd.apis.environment import machine, versions


def pytest_addoption(parser):
    parser.addoption('--gpu-report', metavar='FILE.md', help='what to write outcomes and numbers into')
    parser.addoption('--gpu-tests-on-cpu', action='store_true', help='to try the tests, not the GPU')


def pytest_terminal_summary(terminalreporter, config):
    file = config.getoption('--gpu-report')
    if not file:
        return
    lines = [f'{machine()}; ' + ', '.join(f'{name} {version}' for name, version in versions().items()), '']
    lines += ['| test | outcome | seconds | measured |', '|---|---|---|---|']
    for outcome in ('failed', 'error', 'passed', 'skipped'):
        for report in terminalreporter.stats.get(outcome, []):
            measured = ', '.join(f'{name} {value}' for name, value in report.user_properties)
            name = report.nodeid.split('::')[-1]
            lines.append(f'| {name} | {outcome} | {report.duration:.1f} | {measured} |')
    for report in terminalreporter.stats.get('failed', []):
        lines += ['', report.nodeid, '```', str(report.longrepr)[-2000:], '```']
    Path(file).write_text('\n'.join(lines) + '\n')
    terminalreporter.write_line(f'What to send: {file}')
