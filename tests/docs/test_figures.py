"""Figures in the docs are those of the files of results.

``python tests/docs/test_figures.py`` writes the tables between ``<!-- figures: NAME -->`` and ``<!-- end -->`` anew.
"""

import json
import re
from functools import cache
from pathlib import Path
from statistics import mean, median

import pytest

from mmpose_tskd.evaluation.comparison import Comparison

REPO = Path(__file__).parents[2]
RESULTS = REPO / 'docs' / 'results'
# whose tables of figures are all written by this file
PAGES = [
    'README.md',
    'docs/deploy.md',
    'docs/ikd.md',
    'docs/losses.md',
    'docs/own_config.md',
    'docs/performance.md',
    'docs/results.md',
    'docs/stage2.md',
    'docs/research/performance.md',
    'docs/research/records.md',
    'docs/research/short_budget.md',
    'docs/research/table4_lspet.md',
]
BLOCK = re.compile(r'<!-- figures: (\w+) -->\n(.*?)<!-- end -->', re.S)


def load(name):
    return json.loads((RESULTS / name).read_text())


LSPET = load('ablation_lspet.json')
DEV = load('ablation_lspet_dev.json')
RECIPE = load('recipe_lspet.json')  # with a teacher that is trained out
CROWD = load('ablation_synthetic_crowd_finished.json')  # likewise
CROWD_RUNS = RESULTS / 'ablation_synthetic_crowd_finished' / 'runs'
FINISHED = load('finished_teacher_exploration.json')
EARLY = FINISHED['early_stopped_teacher']['AP']
SEEDS = [run['rows'] for run in load('quickstart_seeds.json')['runs']]
NOT_RUN = 'not run'


def number(value, digits=1, sign=''):
    return f'{value:{sign}.{digits}f}'.replace('-', '−')


def interval(entry):
    """A difference to the baseline, with its interval where there is one."""
    text = number(entry['delta'], sign='+')
    return f'{text} [{number(entry["ci_low"])}, {number(entry["ci_high"])}]' if 'ci_low' in entry else text


def table(head, rows):
    rule = '|'.join(['---'] * len(head))
    return '\n'.join([f'| {" | ".join(head)} |', f'|{rule}|', *(f'| {" | ".join(row)} |' for row in rows)]) + '\n'


def ablated(scheme, found, metric='AP'):
    """A row of an ablation, with its difference to the plain student."""
    if scheme not in found['rows']:
        return NOT_RUN
    entry = found['rows'][scheme][metric]
    return f'{number(entry["mean"])}' + ('' if scheme == 'baseline' else f' ({interval(entry)})')


def stopped_early(row):
    """On generated images, with the quickstart's teacher."""
    if row not in EARLY:
        return NOT_RUN
    found, base = EARLY[row], EARLY['plain_student']
    return number(found) + ('' if row == 'plain_student' else f' ({number(found - base, sign="+")})')


def gains():
    rows = [
        ('plain student', 'baseline', 'plain_student'),
        ('features (scheme 2)', 'scheme2', None),
        ('features, pose and limbs: **stage 1** (scheme 4)', 'scheme4', 'stage1'),
        ('refiner alone: **stage 2** on the plain student (scheme 5)', 'scheme5', None),
        ('**both stages** (scheme 6)', 'scheme6', 'stage1_and_2'),
        ("the teacher's SimCC bins (`logit_kd`)", 'logit_kd', None),
        ("MMPose's `DWPoseDistiller`, as it ships", 'dwpose', None),
        ("**start from the teacher's weights**", 'recipe', 'student_from_selected_weights'),
        ("start from the teacher's weights, and the refiner", 'recipe_refined', None),
    ]
    body = [
        (name, ablated(row, LSPET), ablated(row, RECIPE), stopped_early(early), ablated(row, CROWD))
        for name, row, early in rows
        if row in {*LSPET['rows'], *RECIPE['rows'], *CROWD['rows']}
    ]
    teachers = [number(found['teacher']['AP']['mean']) for found in (LSPET, RECIPE, CROWD)]
    body.append(('teacher', *teachers[:2], number(EARLY['teacher']), teachers[2]))
    head = [
        '',
        'photographs, teacher stopped early',
        'photographs, teacher trained out',
        'generated images, teacher stopped early',
        'generated images, teacher trained out',
    ]
    return table(head, body)


def readme():
    rows = dict(
        baseline='plain student',
        scheme2='features alone',
        scheme4='stage 1: features, pose and limbs',
        scheme5='stage 2 on the plain student',
        scheme6='both stages',
        dwpose="MMPose's `DWPoseDistiller`",
        recipe="**start from the teacher's weights**",
    )
    body = [(name, *(ablated(row, found) for found in (LSPET, RECIPE, CROWD))) for row, name in rows.items()]
    body.append(('teacher', *(number(found['teacher']['AP']['mean']) for found in (LSPET, RECIPE, CROWD))))
    head = ['AP', 'photographs, teacher stopped early', 'photographs, teacher trained out']
    return table([*head, 'generated images, teacher trained out'], body)


def finished():
    """Both data sets with a teacher that is trained out."""
    names = dict(
        baseline='plain student',
        scheme2='features (scheme 2)',
        scheme4='features, pose and limbs: stage 1 (scheme 4)',
        scheme5='stage 2 on the plain student (scheme 5)',
        scheme6='both stages (scheme 6)',
        logit_kd="the teacher's bins",
        dwpose="MMPose's `DWPoseDistiller`, as it ships",
        recipe="**start from the teacher's weights**",
        recipe_feat='and features',
        recipe_refined='and the refiner',
    )
    body = []
    for row, name in names.items():
        cells = []
        for found in (CROWD, RECIPE):
            seeds = str(found['rows'][row]['AP']['n']) if row in found['rows'] else ''
            cells += [seeds, ablated(row, found), ablated(row, found, 'occluded_AP')]
        if NOT_RUN in cells[:2] and NOT_RUN in cells[3:5]:
            continue
        body.append((name, *cells))
    teachers = []
    for found in (CROWD, RECIPE):
        teachers += ['1', *(number(found['teacher'][metric]['mean']) for metric in ('AP', 'occluded_AP'))]
    head = ['', 'seeds', 'generated images: AP', 'occluded copies', 'seeds', 'photographs: AP', 'occluded copies']
    return table(head, [*body, ('teacher', *teachers)])


@cache
def seed0():
    """What each run of seed 0 found in the 100 held-out images, and resamples of them."""
    records = [json.loads(file.read_text()) for file in CROWD_RUNS.glob('*_seed0_*.json')]
    return Comparison({record['scheme']: {0: record['sets']['dev']} for record in records})


def regimes():
    """Where the paper's parts pay: what each part of stage 1 adds to those before it."""
    crowd, lspet = 'ablation_synthetic_crowd_finished_dev.json', 'recipe_lspet_dev.json'
    rows = [
        ('generated images, 10 epochs', crowd, ''),
        ('generated images, 40 epochs', crowd, 'long_'),
        ('generated images, on a trained student, 10 more epochs', crowd, 'trained_'),
        ('photographs, 8 epochs', lspet, ''),
        ('photographs, 32 epochs', lspet, 'long_'),
        ('generated images, all occluded, 10 epochs', 'ablation_synthetic_crowd_occluded_dev.json', ''),
    ]
    body = []
    for name, file, prefix in rows:
        if not (RESULTS / file).is_file():
            continue
        found = load(file)
        before, *schemes = [f'{prefix}{one}' for one in ('baseline', 'scheme2', 'scheme3', 'scheme4')]
        entry = found['rows'][before]['AP']
        cells = [name, number(entry['mean'])]
        for scheme in schemes:
            difference = found['differences']['AP'].get(scheme, {}).get(before)
            if difference is None:
                cells.append('not run')
                continue
            seeds = min(found['rows'][one]['AP']['n'] for one in (scheme, before))
            cells.append(f'{interval(difference)}, {seeds} {"seed" if seeds == 1 else "seeds"}')
            before = scheme
        body.append(cells)
    return table(['', 'plain', 'features', 'and pose', 'and limbs'], body)


def occluded():
    """Trained on occluded images: all keypoints and those that are hidden, on held-out images and occluded copies."""
    found = load('ablation_synthetic_crowd_occluded_dev.json')
    names = dict(
        baseline='plain student',
        scheme2='features',
        scheme3='features and pose',
        scheme4='stage 1: features, pose and limbs',
        scheme5='stage 2 on the plain student',
        scheme6='both stages',
        recipe="start from the teacher's weights",
    )
    metrics = ('AP', 'AP_hidden', 'occluded_AP', 'occluded_AP_hidden')
    body = [(name, *(ablated(row, found, metric) for metric in metrics)) for row, name in names.items()]
    body.append(('teacher', *(number(found['teacher'][metric]['mean']) for metric in metrics)))
    return table(['', 'AP', 'of hidden keypoints', 'occluded copies: AP', 'of hidden keypoints'], body)


def where_occluded():
    """What both stages gain there, and the refiner in them."""
    found = load('ablation_synthetic_crowd_occluded_dev.json')
    both, refiner = found['rows']['scheme6'], found['differences']['AP']['scheme6']['scheme4']
    return ap_interval(both['AP']), ap_interval(both['AP_hidden']), ap_interval(refiner)


def on_dev(rows, *more):
    """Rows of name, scheme, the scheme that it is compared with, and what else there is to say."""
    found, body = seed0(), []
    for name, row, base, *rest in rows:
        if {row, base} <= set(found.values):
            ap_of = [number(found.values[one][0]['AP'][0]) for one in (base, row)]
            body.append((name, *rest, *ap_of, interval(found.difference(row, base, 'AP'))))
    return table(['', *more, 'difference'], body)


def training_time():
    """How far a longer training gets alone."""
    start = "start from the teacher's weights"
    rows = [
        ('plain student, 10 + 10 epochs', 'trained_baseline', 'baseline', 'plain student, 10 epochs'),
        ('plain student, 40 epochs', 'long_baseline', 'baseline', 'plain student, 10 epochs'),
        (f'{start}, 10 epochs', 'recipe', 'baseline', 'plain student, 10 epochs'),
        (f'{start}, 10 epochs', 'recipe', 'long_baseline', 'plain student, 40 epochs'),
        (f'{start}, 40 epochs', 'long_recipe', 'long_baseline', 'plain student, 40 epochs'),
    ]
    return on_dev(rows, 'compared with', 'AP of that', 'AP')


def leads():
    """What was changed about the features, to find what makes them cost AP."""
    rows = [
        ('features, α = 4e-3 (scheme 2)', 'scheme2', 'baseline'),
        ('the same, α = 4e-2', 'scheme2_large', 'baseline'),
        ('of the teacher after 14 of its 45 epochs', 'early14_scheme2', 'baseline'),
        ('of the teacher after 28 of its 45 epochs', 'early28_scheme2', 'baseline'),
        ('from epoch 6 of 10 on', 'late_scheme2', 'baseline'),
        ('on a student that is trained already, 10 more epochs', 'trained_scheme2', 'trained_baseline'),
        ('for 40 epochs instead of 10', 'long_scheme2', 'long_baseline'),
    ]
    return on_dev(rows, 'AP without', 'AP with')


def long_photographs():
    found = load('recipe_lspet_dev.json')
    rows = [
        ('features, 8 epochs', 'scheme2', 'baseline', 'plain student, 8 epochs'),
        ('features, 32 epochs', 'long_scheme2', 'long_baseline', 'plain student, 32 epochs'),
        ("start from the teacher's weights, 8 epochs", 'recipe', 'long_baseline', 'plain student, 32 epochs'),
    ]
    body = [
        (name, with_, str(min(found['rows'][one]['AP']['n'] for one in (row, base))), interval(difference))
        for name, row, base, with_ in rows
        for difference in [found['differences']['AP'].get(row, {}).get(base)]
        if difference
    ]
    return table(['', 'compared with', 'seeds', 'AP, difference'], body)


def compared(rows, base):
    """Rows of name and scheme of LSPET's ablation with the trained-out teacher, with the difference to ``base``."""
    body = []
    for name, row in rows:
        entry = RECIPE['rows'][row]['AP']
        difference = '' if row == base else interval(RECIPE['differences']['AP'][row][base])
        body.append((name, str(entry['n']), number(entry['mean']), difference))
    return body


def recorded_stage2():
    rows = [
        ('plain student', 'baseline'),
        ('stage 2, live teacher', 'scheme5'),
        ('stage 2, record', 'scheme5_record'),
        ('stage 2, record with flip test', 'scheme5_record_flip'),
    ]
    return table(['', 'seeds', 'AP', 'difference to the live teacher'], compared(rows, 'scheme5'))


def few_labels():
    rows = [
        ('1,000 labels alone', 'few'),
        ('and poses of a teacher that learned from these 1,000', 'few_record'),
        ('and poses of the teacher that learned from all', 'few_record_finished'),
        ('all 7,000 labels', 'baseline'),
        ('the teacher that learned from the 1,000', 'few_teacher'),
    ]
    return table(['', 'seeds', 'AP', 'difference to 1,000 labels alone'], compared(rows, 'few'))


def distilled_gains():
    """What the refined student has over the plain one, by seed."""
    return [
        next(one for one in run['gains'] if (one['of'], one['over']) == ('stage2', 'plain_student'))
        for run in load('distill_few_labels.json')['runs']
    ]


def few_labels_distilled():
    names = dict(plain_student='plain student', stage1='distilled', stage2='and refined', teacher='teacher')
    runs = load('distill_few_labels.json')['runs']
    rows = [(name, *(number(run['rows'][row]['AP']) for run in runs)) for row, name in names.items()]
    rows.append(('refined over plain', *map(interval, distilled_gains())))
    return table(['', *(f'seed {run["seed"]}' for run in runs)], rows)


def record_confidence():
    """How often the teachers' poses of the 6,000 images are right, by confidence."""
    found = load('few_records.json')['records']
    rows = []
    for low in range(10):
        cells = []
        for record in found.values():
            share, right = record['joints'][low] / sum(record['joints']), record['right'][low]
            cells += [f'{100 * share:.0f} %', f'{100 * right:.0f} %']
        rows.append((f'{low / 10:.1f} to {(low + 1) / 10:.1f}', *cells))
    head = [f'{name}: {what}' for name in found for what in ('keypoints', 'right')]
    return table(['confidence', *head], rows)


def quickstart():
    names = dict(
        teacher='teacher',
        plain_student='plain student',
        stage1="student that starts from the teacher's weights",
        stage2='and the refiner',
    )
    rows = []
    for row, name in names.items():
        values = {key: [run[row][key] for run in SEEDS] for key in ('AP', 'AP50', 'AP_hidden', 'edge_error')}
        each = ' / '.join(number(value) for value in values['AP'])
        rows.append(
            (
                name,
                each,
                number(mean(values['AP'])),
                number(mean(values['AP50'])),
                number(mean(values['AP_hidden'])),
                number(mean(values['edge_error']), 2),
                number(SEEDS[0][row]['params_m'], 2),
                number(SEEDS[0][row]['gmacs'], 3),
            )
        )
    head = [
        '',
        'AP, seeds 0 / 1 / 2',
        'mean AP',
        'AP50',
        'AP of hidden keypoints',
        'limb error, % of the box',
        'parameters, M',
        'GMACs',
    ]
    return table(head, rows)


def lspet():
    names = dict(
        baseline='plain student',
        scheme1='1: refiner, labels',
        scheme2='2: features',
        scheme3='3: and pose',
        scheme4='4: and limbs',
        scheme5='5: refiner, teacher',
        scheme6='6: 4, then 5',
        logit_kd='DWPose bins',
    )
    metrics = ('AP', 'AP50', 'AR', 'PCK')
    rows = []
    for scheme, name in names.items():
        cells = []
        for metric in metrics:
            entry = LSPET['rows'][scheme][metric]
            difference = '' if scheme == 'baseline' else f' ({interval(entry)})'
            cells.append(f'{number(entry["mean"])} ± {number(entry["std"])}{difference}')
        rows.append((name, *cells))
    rows.append(('teacher', *(number(LSPET['teacher'][metric]['mean']) for metric in metrics)))
    return table(['', 'AP', 'AP50', 'AR', 'PCK, %'], rows)


def hidden():
    metrics = ('occluded_AP', 'occluded_AP_seen', 'occluded_AP_hidden')
    rows = []
    for scheme, name in (
        ('baseline', 'plain student'),
        ('scheme2', 'features'),
        ('scheme4', 'stage 1'),
        ('scheme6', 'both stages'),
    ):
        entries = [LSPET['rows'][scheme][metric] for metric in metrics]
        rows.append(
            (name, *(number(e['mean']) + ('' if scheme == 'baseline' else f' ({interval(e)})') for e in entries))
        )
    rows.append(('teacher', *(number(LSPET['teacher'][metric]['mean']) for metric in metrics)))
    return table(['', 'AP, occluded images', 'of visible keypoints', 'of hidden keypoints'], rows)


def refiner():
    differences = DEV['differences']['AP']
    changes = [
        ('absolute coordinates instead of offsets', 'scheme6_absolute'),
        ('labels and teacher, one loss each', 'scheme6_labels'),
        ('features read at the last refined pose', 'scheme6_resample'),
        ("OPEC-Net's feature adaption", 'scheme6_adaption'),
        ('12 epochs instead of 4', 'scheme6_3x'),
    ]
    rows = [(name, interval(differences[row]['scheme6'])) for name, row in changes]
    return table(['change to the refiner', 'AP, difference to the default'], rows)


def factors():
    """Decisions on the development set."""
    differences = DEV['differences']['AP']
    rows = [
        ('features, Eq. 1 (α = 4e-3, summed)', 'scheme2', 'baseline'),
        ('pose, Eq. 2 (β = 0.02, pixels)', 'scheme3', 'scheme2'),
        ('limbs, Eq. 3 (lengths)', 'scheme4', 'scheme3'),
        ("β = 0.1, the paper's, instead of 0.02", 'scheme4_beta', 'scheme4'),
        ('bins instead of the three losses', 'logit_kd', 'scheme4'),
    ]
    body = [
        (what, f'{row} − {base}', interval(differences[row][base]), str(DEV['rows'][row]['AP']['n']))
        for what, row, base in rows
    ]
    return table(['what is added or changed', 'rows compared', 'AP', 'seeds'], body)


def errors():
    """Mean distance to the labels before and after each step of the refiner."""
    names = dict(
        scheme1='scheme 1: plain student, taught by labels',
        scheme5='scheme 5: plain student, taught by the teacher',
        scheme6='scheme 6: student of stage 1, taught by the teacher',
    )
    rows = []
    for scheme, name in names.items():
        found = load(f'ablation_lspet/analysis/refinement_{scheme}_dev.json')['rows'][0]
        teacher = number(found['teacher'], 2) if found.get('teacher') else ''
        rows.append((name, *(number(found[key], 2) for key in ('initial', 'step1', 'step2', 'step3')), teacher))
    return table(['mean error, pixels of the 96×128 input', 'P_init', 'P̂1', 'P̂2', 'P̂3', 'teacher'], rows)


def gradients():
    names = dict(loss_kpt='labels', loss_feat='features, Eq. 1', loss_pose='pose, Eq. 2', loss_structure='limbs, Eq. 3')
    found = load('ablation_lspet/analysis/gradients_scheme4.json')['rows']
    epochs = ('1', '2', '4', '6', '8')
    rows = []
    for loss, name in names.items():
        cells = []
        for epoch in epochs:
            row = next(r for r in found if r['loss'] == loss and r['checkpoint'] == f'epoch_{epoch}.pth')
            cells.append(
                f'{100 * row["share"]:.0f} %' + ('' if loss == 'loss_kpt' else f', {number(row["cosine"], 2)}')
            )
        rows.append((name, *cells))
    return table(['after epoch', *epochs], rows)


def pairs():
    found = load('synthetic_crowd_pairs.json')
    names = dict(
        heatmap_to_simcc='HRNet with heatmaps → SimCC (features, pose, limbs)',
        rtmcc_to_rtmcc="RTMPose's head → the same on a smaller HRNet (features, pose, limbs)",
        ikd="HRNet with heatmaps → IKD's ResNet-18 (IKD's three terms)",
    )
    rows = []
    for key, name in names.items():
        plain, distilled = ([seed['AP'] for seed in found[key][kind]['seeds']] for kind in ('plain', 'distilled'))
        texts = [' / '.join(number(ap) for ap in aps) for aps in (plain, distilled)]
        rows.append(
            (name, number(found[key]['teacher']['AP']), *texts, number(mean(distilled) - mean(plain), sign='+'))
        )
    return table(['teacher → student', 'AP of the teacher', 'plain student, 3 seeds', 'distilled', 'mean gain'], rows)


def onnx():
    """The quickstart's refined student in each form, with the plain one and PyTorch beside."""
    found = load('deploy.json')
    names = {
        'coords': '`coords`',
        'coords, flip test': '`coords --flip-test`',
        'rtmlib': '`rtmlib`, read as rtmlib reads it',
        'fp16': '`fp16`',
        'int8': '`int8`',
    }
    calls = [('refined', key, name) for key, name in names.items()]
    calls += [('plain', 'coords', 'the plain student, `coords`'), ('refined', 'PyTorch', 'PyTorch')]
    rows = []
    for model, key, name in calls:
        file = found['models'][model]['files'].get(key)
        times = [1000 * median(found['seconds'][size][f'{model}: {key}']) for size in ('b1', 'b32')]
        cells = [number(file['pytorch'], 2), number(file['onnx'], 2), number(file['size_mb'])] if file else ['', '', '']
        off = 'below 0.0001' if file and file['pixels'] < 1e-4 else f'{file["pixels"]:.2g}' if file else ''
        rows.append((name, *cells, *map(number, times), off))
    return table(
        ['', 'AP of PyTorch', 'AP of the file', 'MB', 'batch 1, ms', 'batch 32, ms', 'keypoints off by, pixels'], rows
    )


def onnx_heads():
    """Other heads, in the two forms that keep all digits."""
    rows = []
    models = {**load('deploy_heads.json')['models'], **load('deploy_photographs.json')['models']}
    for model, row in models.items():
        for form, file in row['files'].items():
            times = [number(row['over_pytorch'][size], 2) for size in ('b1', 'b32')] if form == 'coords' else ['', '']
            off = 'below 0.001' if file['pixels'] < 1e-3 else f'{file["pixels"]:.2g}'
            rows.append((model, f'`{form}`', number(file['pytorch'], 2), number(file['onnx'], 2), off, *times))
    head = ['', 'form', 'AP of PyTorch', 'AP of the file', 'keypoints off by, pixels']
    return table([*head, 'time (PyTorch: 1), batch 1', 'batch 32'], rows)


def step():
    found = load('benchmark_step.json')
    rows = []
    names = dict(
        student_step='student, a step',
        teacher_forward='teacher, forward',
        student_forward='student, forward',
        stage1_step='**stage 1, a step**',
        dwpose_step="MMPose's `DWPoseDistiller`, a step",
        stage2_step='**stage 2, a step**',
        record_step='**stage 2 from a record, a step**',
        record_light_step='the same, `feature_adaption=False`',
    )
    for key, name in names.items():
        row = [name, number(median(found['seconds'][key]), 2)]
        stage = key.removesuffix('_step')
        row.append(number(found['ratios'][stage]['median'], 2) if stage in found['ratios'] else '')
        row.append(f'{found["memory_mib"][key]["peak"]:,.0f}')
        rows.append(row)
    return table(['', 'seconds', '× limit', 'peak memory, MiB'], rows)


def per_round(kind, name, *keys):
    """The sum of some times of one checkout, a round each."""
    times = load(f'benchmark_before_after{kind}.json')['times'][name]
    return [sum(values) for values in zip(*(times[key] for key in keys))]


def before_after():
    rows = []

    def add(title, before, now, digits=2):
        change = median(b / a for a, b in zip(before, now))
        rows.append((title, number(median(before), digits), number(median(now), digits), number(change, 2)))

    for stage in ('stage1', 'stage2'):
        for name, how in dict(now='', folded=", `teacher_pass='folded'`").items():
            steps = (per_round('', checkout, f'seconds {stage}_step') for checkout in ('before', name))
            add(f'stage {stage[-1]}, a step{how}, s', *steps)
    for before, now in dict(CocoMetric='FastCocoMetric', CrowdPoseMetric='', HiddenJointCocoMetric='').items():
        times = (
            per_round('', c, f'seconds {name} evaluate') for c, name in (('before', before), ('now', now or before))
        )
        title = f'`{before}`, now `{now}`' if now else f'`{before}`'
        add(f'{title}, 100,000 detections, s', *times, digits=1)
    found = load('benchmark_before_after_data.json')['times']
    pipelines = (per_round('_data', name, *(k for k in found[name] if k[:3] == 'tra')) for name in ('before', 'now'))
    add('training pipeline, ms an instance', *pipelines)
    for batch in ('1', '32'):
        times = [per_round('_infer', c, f'seconds b{batch} {k}') for c, k in REFINERS]
        ratios = [[a / b for a, b in zip(*pair)] for pair in (times[:2], times[2:])]
        add(f'student with the default refiner, batch {batch}, × student', *ratios)
    return table(['', 'before', 'now', 'now ÷ before'], rows)


def in_mmposes_format():
    """Steps of today divided by the passes that they consist of in MMPose's own memory format."""
    shares = {}
    for stage, student in (('stage1', 'student_step'), ('stage2', 'student_forward')):
        parts = per_round('', 'nchw', f'seconds {student}', 'seconds teacher_forward')
        for name in ('now', 'folded'):
            steps = per_round('', name, f'seconds {stage}_step')
            shares[stage, name] = number(median(a / b for a, b in zip(steps, parts)), 2)
    return (
        f'stage 1 takes {shares["stage1", "now"]} times as long as its parts take in the format that MMPose trains in, '
        f'with a folded teacher {shares["stage1", "folded"]}; stage 2 takes {shares["stage2", "now"]} and '
        f'{shares["stage2", "folded"]}'
    )


# with feature adaption, and without
REFINERS = (('before', 'refined'), ('before', 'student'), ('now', 'light'), ('now', 'student'))


def profiles():
    """By stage, the operators with more than 3 % of a step's time."""
    rows = []
    for stage, operators in load('benchmark_profile.json')['operators'].items():
        *operators, everything = operators
        for row in operators:
            if row['ms'] > 0.03 * everything['ms']:
                shares = (number(100 * row[key] / everything['ms'], 0) + ' %' for key in ('ms', 'ms, limit'))
                rows.append((f'stage {stage[-1]}', f'`{row["operator"]}`', *shares))
    return table(['a step of', 'operator', 'of the time', "its limit's"], rows)


def parts():
    found = load('benchmark_infer.json')['parts_ms']
    rows = [(part, *(number(by[part], 1) for by in found.values())) for part in found['b1']]
    return table(['part', *(f'batch {batch[1:]}, ms' for batch in found)], rows)


def functions():
    *rows, (_, everything) = load('benchmark_eval.json')['profile'].items()
    rows = [(f'`{name.removeprefix("~: ")}`', number(100 * spent / everything, 0) + ' %') for name, spent in rows]
    return table(['function', 'of the time'], rows)


def infer():
    found, rows = load('benchmark_infer.json'), []
    for batch in ('b1', 'b32'):
        kinds = {'student': 'student', 'light': 'with IGP-GCN', 'refined': 'with IGP-GCN, `feature_adaption=True`'}
        for kind, name in kinds.items():
            seconds = number(median(found['seconds'][batch][kind]), 3 if batch == 'b1' else 2)
            ratio = number(found[f'{kind}_over_student_{batch}'], 3) if kind != 'student' else ''
            rows.append((name, batch[1:], seconds, ratio))
    return table(['', 'batch', 'seconds', '× student'], rows)


def pipeline():
    found = load('benchmark_data.json')
    names = dict(
        LoadImage='read',
        GetBBoxCenterScale='box',
        RandomFlip='flip',
        RandomHalfBody='half body',
        FastRandomBBoxTransform='scale and rotation',
        TopdownAffine='crop',
        GenerateTarget='targets',
        PackPoseInputs='pack',
    )
    times = found['transforms_ms']
    return table(
        [*names.values(), 'all'], [[number(times[key], 2) for key in names] + [number(sum(times.values()), 2)]]
    )


def metrics():
    found = load('benchmark_eval.json')['seconds']
    return table(
        ['metric', 'collecting, s', 'evaluating, s'],
        [(f'`{name}`', number(row['process']), number(row['evaluate'])) for name, row in found.items()],
    )


def scaling():
    names = {'batch': 'batch', 'input': 'input, w×h', 'joints': 'keypoints', 'processes': 'processes'}
    found = {(row['size'], row['is'], row['step']): row for row in load('benchmark_scaling.json')['rows']}
    rows = []
    for size, value in dict.fromkeys((size, value) for size, value, _ in found):
        one, two = (found[size, value, stage] for stage in ('stage1', 'stage2'))
        cells = []
        for row in (one, two):
            cells += [number(row['people/s'], 2), number(row['× limit'], 2) if row.get('× limit') else '']
        part = ', '.join(f'{row["teacher %"]:.0f} %' for row in (one, two) if row.get('teacher %'))
        rows.append((names[size], value, *cells, part))
    head = [
        '',
        '',
        'stage 1, instances/s',
        '× limit',
        'stage 2, instances/s',
        '× limit',
        "teacher's part of stage 1, 2",
    ]
    return table(head, rows)


def tried():
    rows = [
        (
            name,
            number(row['median'], 2),
            f'{number(row["q1"], 2)}–{number(row["q3"], 2)}',
            number(row['ratio']['median'], 2),
        )
        for name, row in load('benchmark_tried.json')['rows'].items()
    ]
    return table(["teacher's backbone, forward", 'seconds', 'quartiles', '× the first'], rows)


def short_budget():
    found = load('quickstart_exploration.json')['distillation']
    names = {
        'baseline, seed 0': 'plain student, seed 0',
        'baseline, seed 1': 'plain student, seed 1',
        'alpha 5e-5, beta 0.1': "α = 5e-5, β = 0.1 (the paper's)",
        'pose alone, beta 0.1': 'pose alone, β = 0.1',
        'features alone, alpha 5e-5': 'features alone, α = 5e-5',
        'features alone, alpha 5e-4': 'features alone, α = 5e-4',
        'features alone, alpha 4e-3': 'features alone, α = 4e-3',
        'features alone, alpha 2e-2': 'features alone, α = 2e-2',
        'alpha 4e-3, beta 0.1': 'α = 4e-3, β = 0.1',
        '16 channels, baseline': 'student of 16 channels, plain',
        '16 channels, features alone, alpha 4e-3': 'student of 16 channels, features alone, α = 4e-3',
    }
    return table(['', 'AP'], [(name, number(found[key][-1])) for key, name in names.items()])


def initialization():
    found = load('quickstart_exploration.json')['initialisation']
    return table(["start of the head's layers", 'AP'], [(name, number(aps[-1])) for name, aps in found.items()])


def papers_weights():
    found = load('lspet_seed0.json')['rows']
    names = dict(
        teacher='teacher, 6.3 M parameters, 26 epochs',
        student='student, 1.8 M parameters, 12 epochs',
        stage1="stage 1 with the paper's weights, 12 epochs",
        pose_only='pose alone (Eq. 2), 12 epochs',
    )
    rows = [
        (
            name,
            *(number(100 * found[key][metric]) for metric in ('AP', 'AP .5', 'AR', 'PCK')),
            number(found[key]['EPE']),
        )
        for key, name in names.items()
    ]
    return table(['', 'AP', 'AP50', 'AR', 'PCK, %', 'mean error, pixels'], rows)


def flip_test():
    rows = []
    for name, row in load('flip_test.json')['rows'].items():
        values = {key.removeprefix('lspet/'): value for key, value in row.items()}
        rows.append((name, *(number(100 * values[key]) for key in ('AP', 'AP .5', 'AR', 'PCK')), number(values['EPE'])))
    return table(['', 'AP', 'AP50', 'AR', 'PCK, %', 'mean error, pixels'], rows)


def sizes():
    found = {Path(row['config']).stem: row for row in load('complexity.json')}
    names = {
        'simcc_hrnet-w32_4xb32-210e_coco-256x192': 'student, SimCC HRNet-W32',
        'simcc_hrnet-w32-igpgcn_coco-256x192': 'student with IGP-GCN',
        'simcc_hrnet-w48_4xb32-210e_coco-256x192': 'teacher, SimCC HRNet-W48',
    }
    rows = [(name, number(found[key]['params_m'], 3), number(found[key]['gmacs'], 2)) for key, name in names.items()]
    return table(['256×192, 17 keypoints', 'parameters, M', 'GMACs'], rows)


def ikd_terms():
    found = load('ablation_lspet_ikd.json')
    names = dict(
        baseline='plain student', logit='logit', feature='feature', structure='structure', ikd='all three: IKD'
    )
    body = [(name, ablated(row, found), ablated(row, found, 'occluded_AP_hidden')) for row, name in names.items()]
    teacher = [number(found['teacher'][key]['mean']) for key in ('AP', 'occluded_AP_hidden')]
    return table(['', 'AP', 'AP of hidden keypoints, images occluded'], [*body, ('teacher', *teacher)])


def ikd_sizes():
    found = {row['config']: row for row in load('complexity.json')}
    rows = []
    for data, size in (('coco', '256×192'), ('mpii', '256×256')):
        teacher = found[
            f'mmpose::body_2d_keypoint/topdown_heatmap/{data}/td-hm_res50_8xb64-210e_{data}-{size[0:3]}x{size[4:]}.py'
        ]
        student = found[
            f'configs/ikd/{data}/ikd_td-hm_res50-to-res18-small_8xb64-210e_{data}-{size[0:3]}x{size[4:]}.py'
        ]
        rows.append(('teacher', size, number(teacher['params_m'], 3), number(teacher['gmacs'], 3)))
        cells = [
            f'{number(student[key], 3)} ({number(100 * student[key] / teacher[key])} %)'
            for key in ('params_m', 'gmacs')
        ]
        rows.append(('student', size, *cells))
    return table(['', 'input', 'parameters, M', 'GMACs'], rows)


def features_on_photographs():
    """What the features do with a teacher that is trained out."""
    start, end = (
        {row['loss']: row for row in load(f'recipe_lspet/analysis/gradients_scheme2{name}.json')['rows']}['loss_feat']
        for name in ('_start', '')
    )
    losses = load('recipe_lspet/analysis/losses_scheme2.json')

    def over_seeds(scheme, epoch, key='loss_kpt'):
        rows = [losses[f'{scheme}, seed {seed}'][epoch] for seed in (0, 1)]
        return mean(row[key] / (row['distill_gamma'] if key == 'loss_feat' else 1) for row in rows)

    features = [number(over_seeds('scheme2', epoch, 'loss_feat'), 0) for epoch in ('1', '2', '8')]
    gaps = [number(over_seeds('scheme2', epoch) - over_seeds('baseline', epoch)) for epoch in ('1', '2', '8')]
    return [
        f'they have {100 * start["share"]:.0f} % of the gradient',
        f'at a cosine of {number(start["cosine"], 2)} to that of the labels',
        f'at the end {100 * end["share"]:.0f} %, at {number(end["cosine"], 2)}',
        f'from {number(start["value"], 0)} at the first step to {features[0]} on average',
        f'and {features[1]} over the second. Then it hardly moves: {features[2]} in the last',
        f"is {gaps[0]} above the plain student's in the first epoch, {gaps[1]} in the second and {gaps[2]} in the last",
    ]


def long_training():
    """When the features begin to pay, in a training of 40 epochs."""
    (features, plain) = (
        dict(json.loads(file.read_text())['curve'])
        for row in ('long_scheme2', 'long_baseline')
        for file in CROWD_RUNS.glob(f'*_{row}_seed0_*.json')
    )
    four, eight, twelve = (f'{number(features[k])}{{}} against {number(plain[k])}' for k in (4, 8, 12))
    return [
        f'the same features, at the same weight, gain {ap(ahead("long_scheme2", "long_baseline"))}',
        f'after 4 epochs ({four.format(" AP")}) and ahead after 8 ({eight.format("")}) and 12 ({twelve.format("")})',
        f'to the weights of the teacher is {ap(ahead("recipe", "long_baseline"))}',
    ]


def parts_together():
    """What stage 1 as a whole gains where the students train for long."""
    found = load('ablation_synthetic_crowd_finished_dev.json')['differences']['AP']
    return [
        f'gain {ap_interval(found["long_scheme4"]["long_baseline"])} in 40 epochs',
        f'and {ap_interval(found["trained_scheme4"]["trained_baseline"])} in ten epochs from a trained student',
        f'and pose by {interval(found["scheme3"]["scheme2"])} on generated images in ten',
    ]


def ahead(row, base='baseline'):
    """The difference in AP of two runs of seed 0."""
    return seed0().difference(row, base, 'AP')['delta']


def ap(value):
    return f'{number(value)} AP'


def ap_interval(entry):
    """A difference with its interval, as running text has it."""
    return interval(entry)[1:].replace(' [', ' AP [')


def gain(row, base):
    return interval(RECIPE['differences']['AP'][row][base]).replace(' [', ' AP [')


def records_in_words():
    """What a teacher's poses give, and which of them are wrong."""
    records = list(load('few_records.json')['records'].values())
    kept = [number(100 * sum(one['joints'][3:]) / sum(one['joints']), 0) for one in records]
    right = [
        number(
            100 * sum(n * share for n, share in zip(one['compared'][3:], one['right'][3:])) / sum(one['compared'][3:]),
            0,
        )
        for one in records
    ]
    teacher = number(RECIPE['teacher']['AP']['mean'])
    plain, refined = (number(RECIPE['rows'][row]['AP']['mean']) for row in ('baseline', 'scheme5_record_flip'))
    distilled = [one['delta'] for one in distilled_gains()]
    errors = ' and '.join(number(one['calibration_error'], 2) for one in records)
    return [
        f'with it, the record gains {gain("scheme5_record_flip", "scheme5_record")}',
        f'The teacher has {teacher} AP, and the refiner brings the student from {plain} to {refined}',
        f'learned from these very images ({number(100 * records[1]["ap"])} AP on them)',
        f"a step of it takes {number(load('benchmark_step.json')['record_to_live'], 2)} of the live step's time",
        f'They gain {gain("few_record_finished", "few")}',
        f'Over training on all labels that is {gain("few_record_finished", "baseline")}',
        f'gives no clear gain: {gain("few_record", "few")}',
        f'labels of the other images gain {gain("baseline", "few")}',
        f'{kept[0]} % are at least as confident as 0.3, and {right[0]} % of these are right',
        f"other teacher's keypoints it is {kept[1]} %, and {right[1]} %",
        f'(calibration error {errors})',
        f'gained {number(min(distilled))} to {ap(max(distilled))} over the plain student',
    ]


def sentences():
    """What running text says of the files, by page."""
    rows, dev = LSPET['rows'], DEV['differences']['AP']
    refined = {
        scheme: LSPET['differences']['AP'][scheme][base]
        for scheme, base in (('scheme5', 'baseline'), ('scheme6', 'scheme4'))
    }
    labels_alone = number(rows['scheme1']['AP']['delta'])
    trained_out = {name: row['AP']['delta'] for name, row in CROWD['rows'].items() if name != 'baseline'}
    found = {name: number(row['AP']['mean']) for name, row in CROWD['rows'].items()}
    finished = {name: row['AP']['delta'] for name, row in RECIPE['rows'].items() if name != 'baseline'}
    on_plain = (refined['scheme5']['delta'], finished['scheme5'], trained_out['scheme5'])
    on_stage1 = (
        refined['scheme6']['delta'],
        CROWD['differences']['AP']['scheme6']['scheme4']['delta'],
        RECIPE['differences']['AP']['scheme6']['scheme4']['delta'],
    )
    span = f'{number(min(on_plain))} to {ap(max(on_plain))} on a plain student'
    span1 = f'{"nothing" if abs(min(on_stage1)) < 0.05 else number(min(on_stage1))} to {ap(max(on_stage1))}'
    on_recipe = RECIPE['differences']['AP']['recipe_refined']['recipe']
    span2 = ap_interval(on_recipe)
    crowd_recipe = CROWD['differences']['AP']['recipe_refined']['recipe']
    start = EARLY['student_from_selected_weights'] - EARLY['plain_student']
    size = {Path(row['config']).stem: row for row in load('complexity.json')}
    plain, with_refiner = (size[f'simcc_hrnet-w32{name}_coco-256x192'] for name in ('_4xb32-210e', '-igpgcn'))
    bins = ap_interval(rows['logit_kd']['AP'])
    grows = {key: number(with_refiner[key] - plain[key], 2) for key in ('params_m', 'gmacs')}
    added = f'{grows["params_m"]} M parameters and {grows["gmacs"]} GMACs'
    adaption = load('feature_adaption.json')['differences']['AP']['scheme5_adaption']['scheme5']
    inference = load('benchmark_infer.json')
    heavy, light = (
        [
            number(value, 0)
            for value in sorted(100 * inference[f'{key}_over_student_b{batch}'] - 100 for batch in (1, 32))
        ]
        for key in ('refined', 'light')
    )
    ratios = {key: ratio['median'] for key, ratio in load('benchmark_step.json')['ratios'].items()}
    large = load('deploy_hrnet_w32.json')
    exported = load('deploy.json')['models']['plain']['over_first']
    scores = {name: number(100 * row['lspet/AP']) for name, row in load('node_score.json')['rows'].items()}
    early = {
        name: number(mean(aps))
        for name, aps in load('quickstart_exploration.json')['teacher_of_20_epochs']['AP'].items()
    }
    loading = load('quickstart_exploration.json')['loading']['seconds']
    paper = {name: 100 * row['AP'] for name, row in load('lspet_seed0.json')['rows'].items()}
    long = load('recipe_lspet_dev.json')['differences']['AP']
    crowd = load('ablation_synthetic_crowd_finished_dev.json')['differences']['AP']
    photos = {row: ap_interval(long[row]['long_baseline']) for row in ('long_scheme2', 'recipe')}
    occluded_gain, hidden_gain, refiner_gain = where_occluded()
    ikd = load('ablation_lspet_ikd.json')
    terms = {name: ap_interval(row['AP']) for name, row in ikd['rows'].items() if name != 'baseline'}
    distilled = [one['delta'] for one in distilled_gains()]
    on_top = ap_interval(ikd['differences']['AP']['ikd']['logit'])
    return {
        'docs/research/records.md': records_in_words(),
        'docs/teachers.md': [
            f'images beside 1,000 labels gained {gain("few_record_finished", "few")}',
            f'images gained {gain("baseline", "few")}',
            f'the same 1,000 labels made no clear difference: {gain("few_record", "few")}',
            f'A step took {number(load("benchmark_step.json")["record_to_live"], 2)} of the time',
            f'gained {number(min(distilled))} to {ap(max(distilled))} over the plain student',
        ],
        'docs/ikd.md': [
            f"The teacher's heatmaps gain {terms['logit']}",
            f'All three together gain {terms["ikd"]}: over the heatmaps alone they gain {on_top}',
        ],
        'README.md': [
            f"a teacher's poses for 6,000 more add {gain('few_record_finished', 'few').removeprefix('+')}",
            f'make no clear difference: {gain("few_record", "few").removeprefix("+")}',
            f"the teacher's heatmaps gain {terms['logit']} on photographs",
            f'its teacher (photographs; generated images: {ap_interval(crowd_recipe)})',
            f'both stages gain {occluded_gain}, and {hidden_gain} on hidden',
            f'stage 1 gains {ap_interval(crowd["trained_scheme4"]["trained_baseline"])} in ten',
            f'and in 32 epochs {photos["long_scheme2"]} on photographs',
            f'gains {ap(ahead("recipe", "long_baseline"))} on generated images and {photos["recipe"]} on photographs',
            f'They gained {ap(rows["scheme2"]["AP"]["delta"])} with a teacher that was stopped early',
            f'{found["baseline"]} for the small model alone and {found["recipe"]} distilled',
            f'It gains {span}, {span1} on one of stage 1, and {span2} on one that',
            f'In 40 epochs they gain {ap(ahead("long_scheme2", "long_baseline"))} on generated images',
        ],
        'docs/results.md': [
            f'stage 1 gained {ap(rows["scheme4"]["AP"]["delta"])} on photographs',
            f'cost {ap(-finished["scheme2"])} on photographs and made no clear difference on generated',
            f'it gained {ap(ahead("long_scheme2", "long_baseline"))} there',
            f'stage 1 cost {ap(-finished["scheme4"])} on photographs',
            f'and in 32 epochs {photos["long_scheme2"]} on photographs',
            f'weights gained {ap(finished["recipe"])} on photographs',
            f'it gained {ap(trained_out["recipe"])} with the trained-out teacher',
            f'(of {ap(ahead("recipe"))} on dev, seed 0, a plain student gets {number(ahead("long_baseline"))} by',
            f'and {ap(start)} with the early-stopped one',
            f'(stage 2) gained {span}, and {span1} on one of stage 1',
            f'costs {light[0]} to {light[1]} % of inference time, or {heavy[0]} to {heavy[1]} % with feature adaption',
        ],
        'docs/losses.md': [
            f'both stages gained {occluded_gain}',
            f'they cost {ap(-finished["scheme2"])} on photographs and made no clear difference',
            f'in 40 epochs they gained {number(ahead("long_scheme2", "long_baseline"))} AP on',
            f'cost {ap(-finished["dwpose"])} on photographs',
            f'was {ap(ahead("recipe", "long_baseline"))} behind',
            f'gained {span}, and {span1} on one of stage 1',
            f'β = 0.1 cost {ap(-dev["scheme4_beta"]["scheme4"]["delta"])}',
        ],
        'docs/stage2.md': [
            f'added {ap_interval(refined["scheme5"])} to a plain student',
            f'{ap_interval(refined["scheme6"])} to one of stage 1',
            f'it added {ap(trained_out["scheme5"])} to a plain student on generated images',
            f'and {ap(finished["scheme5"])} on photographs',
            f'costs {light[0]} to {light[1]} % of inference time, or {heavy[0]} to {heavy[1]} % with',
            added,
            f'gained less: {labels_alone} AP',
            f'made no difference: {interval(adaption)} AP',
        ],
        'docs/reproduce.md': [added],
        'docs/comparison.md': [
            f'{bins} on photographs, where features gave {ap(rows["scheme2"]["AP"]["delta"])}',
            f'{number(ratios["dwpose"], 2)} times the time of its parts',
            f'cost {ap(-RECIPE["rows"]["dwpose"]["AP"]["delta"])} there',
            f'stage 1 in this package took {number(ratios["stage1"], 2)} times',
        ],
        'docs/deploy.md': [
            f'takes {number(1 / exported["b1"], 2)} times as long as the plain one at batch 1',
            f'and {number(1 / exported["b32"], 2)} times at batch 32',
            f'{large["onnx_refined_cpu_ms"]} ms in ONNX Runtime and {large["torch_refined_cpu_ms"]} ms in PyTorch',
            f'and {large["export_cpu_s"]} s to export',
        ],
        'docs/research/finished_teachers.md': [
            *features_on_photographs(),
            *long_training(),
            f'whole stage 1 costs {ap(-finished["scheme4"])} on photographs',
            *parts_together(),
            f'gain {occluded_gain}, and {hidden_gain} on hidden keypoints. The refiner has {refiner_gain} of it',
            f'by another {interval(long["scheme4"]["scheme2"])} on photographs in eight',
            f'on generated images and {photos["long_scheme2"]} on photographs',
            f'and {photos["recipe"]} on photographs',
        ],
        'docs/research/performance.md': [in_mmposes_format()],
        'docs/research/decisions.md': [
            f'{scores["probability"]} AP with probabilities, {scores["confidence"]} with confidences'
        ],
        'docs/research/short_budget.md': [
            f'{early["teacher"]} AP, stage 1 {early["stage1"]} and stage 2 {early["stage2"]}',
            f'stage 1 costs {ap(paper["student"] - paper["stage1"])} there',
            f'{number(loading["2"], 2)} s per step with two workers, {number(loading["0"], 2)} s with none',
        ],
    }


SENTENCES = [(page, sentence) for page, found in sentences().items() for sentence in found]


def pages():
    return [
        REPO / 'README.md',
        *sorted((REPO / 'docs').glob('*.md')),
        *sorted((REPO / 'docs' / 'research').glob('*.md')),
    ]


BLOCKS = [(page, name, text) for page in pages() for name, text in BLOCK.findall(page.read_text())]


@pytest.mark.parametrize('page, name, text', BLOCKS, ids=[f'{page.stem}-{name}' for page, name, _ in BLOCKS])
def test_a_table_has_the_figures_of_its_file(page, name, text):
    assert text == globals()[name](), 'python tests/docs/test_figures.py writes the tables anew'


@pytest.mark.parametrize('page, sentence', SENTENCES)
def test_a_sentence_has_the_figures_of_its_file(page, sentence):
    assert sentence in ' '.join((REPO / page).read_text().replace('**', '').split())


@pytest.mark.parametrize('page', PAGES)
def test_every_table_of_figures_is_one_that_is_checked(page):
    rest = BLOCK.sub('', (REPO / page).read_text())
    for line in rest.splitlines():
        if line.startswith('|') and 'versions' not in line:
            assert not re.search(r'(?<![\w.-])\d+\.\d+(?![\w.])', re.sub(r'`[^`]*`', '', line)), line


if __name__ == '__main__':
    for page in pages():
        page.write_text(
            BLOCK.sub(lambda m: f'<!-- figures: {m[1]} -->\n{globals()[m[1]]()}<!-- end -->', page.read_text())
        )
