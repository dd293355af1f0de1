# The recipe for a teacher of the student's own family: the student starts from every second channel of the teacher, and learns from
# the labels.
_base_ = ['../../simcc/lspet/simcc_hrnet-w16-small_8e_lspet-128x96.py']

model = dict(
    type='PoseDistiller',
    teacher='{{ fileDirname }}/../../simcc/lspet/simcc_hrnet-w32-small_12e_lspet-128x96.py',
    teacher_checkpoint='work_dirs/simcc_hrnet-w32-small_12e_lspet-128x96',
    init_from_teacher=True)
