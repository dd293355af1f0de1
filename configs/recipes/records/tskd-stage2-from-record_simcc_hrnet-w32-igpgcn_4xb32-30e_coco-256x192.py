# Stage 2 on COCO from a record: the teacher was asked once, by tools/record_teacher.py (docs/teachers.md), and does not run.
_base_ = ['../../stage2_igpgcn.py']

model = dict(
    teacher=dict(_delete_=True, type='RecordedTeacher', file='work_dirs/records/coco_train.json'),
    teacher_checkpoint=None)

custom_hooks = [*_base_.custom_hooks, dict(type='RecordedTeacherHook')]
