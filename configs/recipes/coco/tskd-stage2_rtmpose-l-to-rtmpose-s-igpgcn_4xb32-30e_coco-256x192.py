# Stage 2 for RTMPose: the RTMPose-s that RTMPose-l has taught is frozen, and RTMPose-l's pose trains the IGP-GCN.
_base_ = ['rtmpose-s-igpgcn_coco-256x192.py']

# runtime
max_epochs = 30
train_cfg = dict(max_epochs=max_epochs, val_interval=5)

# optimizer: learning rate 1e-3 for 4 GPUs of 32 instances each
optim_wrapper = dict(
    _delete_=True, type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3), clip_grad=dict(max_norm=1.0))
train_dataloader = dict(batch_size=32)
auto_scale_lr = dict(base_batch_size=128)

# learning policy: one epoch from 1e-5 to 1e-3, then down to 1e-5
param_scheduler = [
    dict(type='LinearLR', begin=0, end=1, start_factor=0.01, by_epoch=True, convert_to_iter_based=True),  # warm-up
    dict(
        type='CosineAnnealingLR',
        begin=1,
        end=max_epochs,
        T_max=max_epochs - 1,
        eta_min=1e-5,
        by_epoch=True,
        convert_to_iter_based=True),
]

model = dict(
    type='PoseDistiller',
    teacher='mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-l_8xb256-420e_coco-256x192.py',
    teacher_checkpoint='https://download.openmmlab.com/mmpose/v1/projects/rtmposev1/'
    'rtmpose-l_simcc-coco_pt-aic-coco_420e-256x192-1352a4d2_20230127.pth',
    student_checkpoint='work_dirs/distill_rtmpose-l-to-rtmpose-s_8xb256-420e_coco-256x192',
    frozen=('backbone', 'head.base_head'),
    task_loss=False,
    distill_losses=dict(loss_refine=dict(type='ProgressivePoseLoss')))

# hooks
custom_hooks = [dict(type='SyncBuffersHook'), dict(type='ReliableRunHook'), dict(type='SafeSamplesHook')]
