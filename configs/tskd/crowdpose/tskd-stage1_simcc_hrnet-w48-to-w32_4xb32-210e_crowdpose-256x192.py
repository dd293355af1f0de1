# Stage 1 on CrowdPose: SimCC HRNet-W48 teaches SimCC HRNet-W32 by its features, its pose and the lengths of its limbs.
_base_ = ['../../simcc/crowdpose/simcc_hrnet-w32_4xb32-210e_crowdpose-256x192.py']

model = dict(
    type='SimCCStructureDistiller',
    teacher='{{ fileDirname }}/../../simcc/crowdpose/simcc_hrnet-w48_4xb32-210e_crowdpose-256x192.py',
    teacher_checkpoint='checkpoints/simcc_hrnet-w48_crowdpose-256x192.pth',
    distill_losses=dict(
        loss_feat=dict(student_channels=32, teacher_channels=48)))

# Eq. 4
custom_hooks = [*_base_.custom_hooks, dict(type='DistillWeightDecayHook')]
