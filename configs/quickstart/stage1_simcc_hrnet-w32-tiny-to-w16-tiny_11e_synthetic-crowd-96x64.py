# Stage 1 of the quickstart: the student's own config, taught by the 3 M teacher.
_base_ = ['simcc_hrnet-w16-tiny_11e_synthetic-crowd-96x64.py']

model = dict(
    type='SimCCStructureDistiller',
    teacher='{{ fileDirname }}/simcc_hrnet-w32-tiny_19e_synthetic-crowd-96x64.py',
    teacher_checkpoint='work_dirs/simcc_hrnet-w32-tiny_19e_synthetic-crowd-96x64',
    distill_losses=dict(
        # α: the paper's 5e-5 is for 12 times as many features and 210 epochs from ImageNet weights. From random weights in
        # eleven epochs it only disturbs (docs/quickstart.md); at 4e-3 the student learns its features from the teacher's.
        loss_feat=dict(student_channels=16, teacher_channels=32, loss_weight=4e-3),
        loss_structure=dict(metainfo=_base_.dataset_type)))

custom_hooks = [*_base_.custom_hooks, dict(type='DistillWeightDecayHook')]
