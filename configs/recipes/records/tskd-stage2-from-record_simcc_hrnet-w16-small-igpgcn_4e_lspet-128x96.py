# Stage 2 on LSPET from a record: the teacher was asked once, by tools/record_teacher.py (docs/teachers.md), and does not run.
_base_ = ['../../tskd/lspet/tskd-stage2_simcc_hrnet-w32-small-to-w16-small-igpgcn_4e_lspet-128x96.py']

model = dict(
    teacher=dict(_delete_=True, type='RecordedTeacher', file='work_dirs/records/lspet_train.json'),
    teacher_checkpoint=None)

custom_hooks = [*_base_.custom_hooks, dict(type='RecordedTeacherHook')]
