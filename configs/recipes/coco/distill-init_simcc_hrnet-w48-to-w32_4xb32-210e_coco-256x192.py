# The recipe for a teacher of the student's own family, on COCO: HRNet-W32 starts from two thirds of the channels of HRNet-W48, and learns from
# the labels. It was measured on small networks alone (docs/research/finished_teachers.md), not against a start from ImageNet weights.
_base_ = ['../../simcc/coco/simcc_hrnet-w32_4xb32-210e_coco-256x192.py']

model = dict(
    type='PoseDistiller',
    backbone=dict(init_cfg=None),
    teacher='{{ fileDirname }}/../../simcc/coco/simcc_hrnet-w48_4xb32-210e_coco-256x192.py',
    teacher_checkpoint='checkpoints/simcc_hrnet-w48_coco-256x192.pth',
    init_from_teacher=True)
