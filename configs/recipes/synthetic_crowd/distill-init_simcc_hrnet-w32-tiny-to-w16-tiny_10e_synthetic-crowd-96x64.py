# The recipe for a teacher of the student's own family: the student starts from every second channel of the teacher, and learns from
# the labels.
# docs/research/finished_teachers.md has the comparison with the paper's losses.
_base_ = ['../../simcc/synthetic_crowd/simcc_hrnet-w16-tiny_10e_synthetic-crowd-96x64.py']

model = dict(
    type='PoseDistiller',
    teacher='{{ fileDirname }}/../../simcc/synthetic_crowd/simcc_hrnet-w32-tiny_14e_synthetic-crowd-96x64.py',
    teacher_checkpoint='work_dirs/simcc_hrnet-w32-tiny_14e_synthetic-crowd-96x64',
    init_from_teacher=True)
