# RTMPose's head teaches RTMPose's head: features, pose, and limbs. The weights give each term, at the start, the share of the
# gradient in the backbone that it has in the quickstart's stage 1; they are smaller because KLDiscretLoss averages over the bins.
_base_ = ['rtmcc_hrnet-w16-tiny_10e_synthetic-crowd-96x64.py']

model = dict(
    type='PoseDistiller',
    teacher='{{ fileDirname }}/rtmcc_hrnet-w32-tiny_14e_synthetic-crowd-96x64.py',
    teacher_checkpoint='work_dirs/rtmcc_hrnet-w32-tiny_14e_synthetic-crowd-96x64',
    distill_losses=dict(
        loss_feat=dict(type='FeatureMSELoss', student_channels=16, teacher_channels=32, loss_weight=3e-5),
        loss_pose=dict(type='PoseL1Loss', loss_weight=1e-3),
        loss_structure=dict(type='StructureLoss', loss_weight=1e-3)))

custom_hooks = [*_base_.custom_hooks, dict(type='DistillWeightDecayHook')]
